"""What is done to a model before an engine trains it: which weights learn, what is recomputed.

A ``ModelRestorer`` undoes it. Knows no DeepSpeed.
"""

from collections.abc import Collection
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from trsp.architecture.decoders import decoder_layers


def require_gradients(
    model: Any, trained: Collection[nn.Parameter] | None, *, trains: bool
) -> list[nn.Parameter]:
    """Make ``trained`` parameters (None: all) require gradients, and no others; return them.

    They come in the model's order. Where nothing ``trains`` there are none.
    """
    learning = set(trained or model.parameters()) if trains else set()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in learning)
    return [parameter for parameter in model.parameters() if parameter in learning]


def checkpoint_activations(model: Any) -> None:
    """Recompute each layer in the backward pass.

    Not by the model's own switch, which works in training mode only. Hooks of the layers (gates,
    drift) stay outside: they run once.
    """
    for layer in decoder_layers(model):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
