"""What a model carries besides its weights, remembered and later restored.

A training library leaves hooks, attributes and replaced dictionaries behind on a model, which
change later calls and keep optimizer states alive. Knows no library: it compares, and undoes.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_MOVED = "_buffers"  # replaced by every move to another device: stays as it is

# An attribute's value, and its content where it is a dictionary.
_Carried = Mapping[str, tuple[Any, dict[Any, Any] | None]]


class ModelRestorer:
    """Remembers what the modules and parameters of a model carry when this is made.

    Parameters stay the same objects, so whatever shares or holds them (tied embeddings) goes on
    doing so.
    """

    def __init__(self, model: nn.Module) -> None:
        self._owners: list[Any] = [*model.modules(), *model.parameters()]
        self._carried = [_carried(owner) for owner in self._owners]
        self._required_grad = [
            (parameter, parameter.requires_grad) for parameter in model.parameters()
        ]

    def restore(self, whole: Mapping[nn.Parameter, Tensor] | None = None) -> None:
        """Make them carry exactly that again, without gradients.

        ``whole`` is new data of some parameters: of those that were cut up.
        """
        for owner, carried in zip(self._owners, self._carried, strict=True):
            _restore_attributes(vars(owner), carried)
        for parameter, required in self._required_grad:
            parameter.requires_grad_(required)
            parameter.grad = None
            if whole is not None and parameter in whole:
                with torch.no_grad():
                    parameter.data = whole[parameter]


def _carried(owner: Any) -> _Carried:
    """The attributes of a module or parameter, with the contents of dictionaries (hooks, ...)."""
    carried: dict[str, tuple[Any, dict[Any, Any] | None]] = {}
    for name, value in vars(owner).items():
        if name != _MOVED:
            carried[name] = (value, dict(value) if isinstance(value, dict) else None)
    return carried


def _restore_attributes(attributes: dict[str, Any], carried: _Carried) -> None:
    for name in attributes.keys() - carried.keys() - {_MOVED}:
        del attributes[name]
    for name, (value, content) in carried.items():
        attributes[name] = value
        if content is not None:  # in place: handles of hooks refer to the very dictionary
            value.clear()
            value.update(content)
