"""Whether all weights of a model are numbers, wherever and in however many parts they lie."""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, distributed, nn

from trsp.distributed.collectives import all_reduce_any
from trsp.distributed.zero3_parameters import is_partitioned, whole_tensor
from trsp.errors import InvalidInputError


def check_intact(model: nn.Module, refused: str) -> None:
    """Raise InvalidInputError, on all ranks together, unless all weights are finite.

    ``refused``: what is not done with such a model, as a sentence.
    """
    if broken := nonfinite_parameters(model):
        raise InvalidInputError(
            f"{len(broken)} of the model's parameters hold NaN or infinite values, the first is "
            f"{broken[0]}; {refused}: take a model with intact weights"
        )


@torch.no_grad()
def nonfinite_parameters(model: nn.Module) -> list[str]:
    """Return the names of the parameters that hold a NaN or an infinite value, on any rank.

    Called on all ranks, which get the same answer; of a partitioned parameter each looks at its own
    part. One reduction per tensor, without a copy of it; the host waits once per device. Parameters
    whose values are not in memory (``meta``) are passed over.
    """
    broken: dict[str, bool] = {}
    middles: dict[torch.device, dict[str, Tensor]] = defaultdict(dict)
    for name, parameter in model.named_parameters():
        here = _kept_here(parameter)
        broken[name] = False
        if here.numel() and not here.is_meta:
            middles[here.device][name] = _middle(here)
    for on_device in middles.values():
        flags = (~torch.stack(list(on_device.values())).isfinite()).tolist()
        broken.update(zip(on_device, flags, strict=True))
    anywhere = all_reduce_any(*broken.values())
    return [name for name, flag in zip(broken, anywhere, strict=True) if flag]


def _middle(tensor: Tensor) -> Tensor:
    """Return half of the smallest plus half of the largest element, finite where all of them are.

    NaN and infinities survive it, and two finite halves never add up to one.
    """
    low, high = torch.aminmax(tensor)
    return low.float() / 2 + high.float() / 2


def _kept_here(parameter: Any) -> Tensor:
    """This rank's part of a parameter, without padding; all of it where it lies on NVMe."""
    if not is_partitioned(parameter):
        whole: Tensor = parameter.detach()
        return whole
    if parameter.nvme_swapper is not None:
        return whole_tensor(parameter)
    part: Tensor = parameter.ds_tensor.detach().flatten()
    missing = parameter.ds_numel - part.numel() * distributed.get_rank()
    return part[: max(0, missing)]
