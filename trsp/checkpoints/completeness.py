"""Whether the tensors of a checkpoint are those that its config asks for: none lacks, none is over.

Transformers fills what lacks with noise and drops what is over, with a warning.
"""

from collections.abc import Collection

from torch import nn
from transformers import PreTrainedModel

from trsp.architecture.decoders import decoder_layers
from trsp.architecture.families import family_of
from trsp.errors import InvalidInputError

# Buffers that old checkpoints hold and models make themselves.
_OWN_BUFFERS = ("inv_freq", "masked_bias")


def check_complete(
    model: PreTrainedModel, source: str, missing: Collection[str], unexpected: Collection[str]
) -> None:
    """Raise InvalidInputError unless the model got all of its tensors and dropped none that matter.

    ``missing`` and ``unexpected``: names, by the model's, that the checkpoint lacks or has too
    many. A tensor matters that belongs to a layer which the config has not, or to a module of the
    model; a value head or another module beside them does not.
    """
    if missing:
        raise _lacking(source, sorted(missing))
    _check_surplus(model, source, unexpected)


def _check_surplus(model: PreTrainedModel, source: str, unexpected: Collection[str]) -> None:
    """Raise InvalidInputError where one of the tensors that are left over matters."""
    if deeper := [name for name in sorted(unexpected) if _is_of_a_layer(model, name)]:
        count = len(decoder_layers(model))
        raise InvalidInputError(
            f"the weights of {source!r} hold layers that its config.json does not: it says {count} "
            f"layers, and there is {deeper[0]}; take config.json and weights from one checkpoint"
        )
    if over := [name for name in sorted(unexpected) if _belongs_to(model, name)]:
        raise InvalidInputError(
            f"the weights of {source!r} hold {over[0]}, which its config.json gives the model no "
            "place for, so it would be left out; take config.json and weights from one checkpoint"
        )


def _lacking(source: str, missing: Collection[str]) -> InvalidInputError:
    first = next(iter(missing))
    return InvalidInputError(
        f"the weights of {source!r} lack {len(missing)} of the model's tensors, the first is "
        f"{first}; they would be random: take a complete checkpoint"
    )


def _is_of_a_layer(model: PreTrainedModel, name: str) -> bool:
    """Whether the tensor belongs to a decoder layer that the model does not have."""
    before, layers, after = name.rpartition(f"{_layers_path(model)}.")
    number = after.partition(".")[0]
    return bool(layers) and not before and number.isdigit() and int(number) >= _count(model)


def _belongs_to(model: PreTrainedModel, name: str) -> bool:
    """Whether the tensor belongs to a module of the model; its own buffers do not count."""
    parent, _, attribute = name.rpartition(".")
    if attribute in _OWN_BUFFERS:
        return False
    try:
        module: nn.Module = model.get_submodule(parent)
    except AttributeError:
        return False
    return bool(parent) and (attribute != "bias" or "weight" in dict(module.named_parameters()))


def _layers_path(model: PreTrainedModel) -> str:
    return family_of({"model_type": model.config.model_type}).layers


def _count(model: PreTrainedModel) -> int:
    return len(decoder_layers(model))
