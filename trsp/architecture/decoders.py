"""The decoder layers of a model and the hidden states that go in and out of one.

Knows transformers' conventions only. Shapes: B sequences, T tokens, D hidden size. A layer takes
hidden_BTD first and returns hidden_BTD, alone or first in a tuple.
"""

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from trsp.architecture.families import family_of

LayerOutput = Tensor | tuple[Any, ...]


def _layers_path(model: PreTrainedModel) -> str:
    """Return the dotted path from the causal LM to its list of layers."""
    return family_of({"model_type": model.config.model_type}).layers


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """Return the model's own list of layers. UnknownFamilyError: its family is not in the table."""
    layers = model.get_submodule(_layers_path(model))
    assert isinstance(layers, nn.ModuleList), (
        f"{model.config.model_type}: layers are a {type(layers).__name__}"
    )
    return layers


def set_decoder_layers(model: PreTrainedModel, layers: nn.ModuleList) -> None:
    """Put ``layers`` where the model keeps its own.

    Neither the config nor any ``layer_idx`` is touched: see ``trsp.surgery``.
    """
    parent, _, name = _layers_path(model).rpartition(".")
    setattr(model.get_submodule(parent), name, layers)


def layer_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return hidden_BTD of a layer's call, as a hook with ``with_kwargs=True`` sees the call."""
    return cast(Tensor, args[0] if args else kwargs["hidden_states"])


def layer_hidden(output: LayerOutput) -> Tensor:
    """Return hidden_BTD in what a layer returned."""
    return output if isinstance(output, Tensor) else cast(Tensor, output[0])


def with_hidden(output: LayerOutput, hidden_BTD: Tensor) -> LayerOutput:
    """Return a layer's ``output`` with its hidden states replaced, for a forward hook to return."""
    return hidden_BTD if isinstance(output, Tensor) else (hidden_BTD, *output[1:])
