"""What a parameter holds when ZeRO-3 has cut it into one partition per rank.

A partitioned parameter's own data is empty. Its elements, flattened and padded to a multiple of the
number of ranks, lie in equal contiguous pieces, each in the ``ds_tensor`` of one rank. Everything
here serves ordinary parameters as well. Knows DeepSpeed's attributes, not DeepSpeed.
"""

from collections.abc import Iterable
from math import prod
from typing import Any

import torch
from torch import Tensor, distributed, nn


def is_partitioned(tensor: Tensor) -> bool:
    """Whether ``tensor`` is a parameter under ZeRO-3, born so or under an engine."""
    return "ds_tensor" in vars(tensor)


def is_sharded(model: nn.Module) -> bool:
    """Whether any weight of ``model`` is spread over the ranks."""
    return any(is_partitioned(parameter) for parameter in model.parameters())


def whole_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape of the whole tensor, on any rank and without communication."""
    partitioned: Any = tensor
    return tuple(partitioned.ds_shape if is_partitioned(tensor) else tensor.shape)


def whole_numel(tensors: Iterable[Tensor]) -> int:
    """The number of elements of all ``tensors``, each counted whole."""
    return sum(prod(whole_shape(tensor)) for tensor in tensors)


def whole_tensor(tensor: Tensor) -> Tensor:
    """All values of ``tensor``: of a partitioned parameter a copy, else the tensor, detached.

    For a partitioned one all ranks must call it, in the same order, and each needs the memory of
    one whole tensor.
    """
    if not is_partitioned(tensor):
        return tensor.detach()
    parameter: Any = tensor
    if parameter.nvme_swapper is not None:
        return _gathered_from_nvme(parameter)
    return _gathered(parameter)


def _gathered(parameter: Any) -> Tensor:
    """All values of a parameter whose partitions are in memory, as a copy. On all ranks."""
    mine, ranks = parameter.ds_tensor.detach(), distributed.get_world_size()
    flat = torch.empty(mine.numel() * ranks, dtype=mine.dtype, device=parameter.device)
    pieces = flat.chunk(ranks)
    pieces[distributed.get_rank()].copy_(mine)
    # In place: gloo's all_gather would hold a second copy of the whole.
    for rank, piece in enumerate(pieces):
        distributed.broadcast(piece, src=rank)
    return flat[: parameter.ds_numel].view(parameter.ds_shape)


def _gathered_from_nvme(parameter: Any) -> Tensor:
    """A copy of a parameter whose partitions may lie on NVMe: DeepSpeed reads and gathers them."""
    parameter.all_gather()
    whole: Tensor = parameter.detach().clone()
    parameter.partition()
    return whole


def drop_gathered(parameters: Iterable[nn.Parameter]) -> None:
    """Leave partitioned ``parameters`` with their partition alone.

    What an engine kept gathered is freed.
    """
    for parameter in parameters:
        with torch.no_grad():
            parameter.data = torch.empty(0, dtype=parameter.dtype, device=parameter.device)
