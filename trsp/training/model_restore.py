"""What a model carries besides its weights, remembered before a training library dresses it up and put back afterwards.

Such libraries leave hooks, attributes and replaced dictionaries behind, which change later calls and keep optimizer states
alive. Knows no library: it compares, and undoes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_MOVED = "_buffers"  # replaced by every move to another device: stays as it is


class ModelRestorer:
    """``restore`` makes the model's modules and parameters carry exactly what they carried when this was made.

    Parameters stay the same objects, so whatever shares or holds them (tied embeddings) goes on doing so.
    """

    def __init__(self, model: nn.Module) -> None:
        self._things: list[Any] = [*model.modules(), *model.parameters()]
        self._carried = [_carried(thing) for thing in self._things]
        self._required_grad = [
            (parameter, parameter.requires_grad) for parameter in model.parameters()
        ]

    def restore(self, whole: Mapping[nn.Parameter, Tensor] | None = None) -> None:
        """``whole``: new data of some parameters, for those that were cut up. Gradients are dropped."""
        for thing, carried in zip(self._things, self._carried, strict=True):
            _put_back(vars(thing), carried)
        for parameter, required in self._required_grad:
            parameter.requires_grad_(required)
            parameter.grad = None
            if whole is not None and parameter in whole:
                with torch.no_grad():
                    parameter.data = whole[parameter]


def _carried(thing: Any) -> dict[str, tuple[Any, dict[Any, Any] | None]]:
    """Attributes of a module or parameter, and the contents of those that are dictionaries (hooks, parameters)."""
    attributes = {name: value for name, value in vars(thing).items() if name != _MOVED}
    return {
        name: (value, dict(value) if isinstance(value, dict) else None)
        for name, value in attributes.items()
    }


def _put_back(
    attributes: dict[str, Any], carried: Mapping[str, tuple[Any, dict[Any, Any] | None]]
) -> None:
    for name in attributes.keys() - carried.keys() - {_MOVED}:
        del attributes[name]
    for name, (value, content) in carried.items():
        attributes[name] = value
        if content is not None:  # in place: handles of hooks refer to the very dictionary
            value.clear()
            value.update(content)
