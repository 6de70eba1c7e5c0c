"""Which rank of the process group this process is, and what the ranks tell each other. One rank where there is no group."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def broadcast(value: int) -> int:
    """Rank 0's ``value``, on all ranks; called by all, and a barrier for them until rank 0 has come."""
    if world_size() == 1:
        return value
    told = _told([value])
    distributed.broadcast(told, src=0)
    return int(told.item())


def broadcast_json(value: Any) -> Any:
    """Rank 0's JSON value, on all ranks; called by all."""
    if world_size() == 1:
        return value
    encoded = json.dumps(value).encode()
    length = broadcast(len(encoded))
    content = _told(list(encoded) if rank() == 0 else [0] * length, torch.uint8)
    distributed.broadcast(content, src=0)
    return json.loads(bytes(content.tolist()))


def all_gather(value: int) -> Sequence[int]:
    """Every rank's ``value``, in rank order; a barrier."""
    if world_size() == 1:
        return [value]
    values = [_told([0]) for _ in range(world_size())]
    distributed.all_gather(values, _told([value]))
    return [int(each.item()) for each in values]


def all_reduce_any(*flags: bool) -> Sequence[bool]:
    """For every flag, whether it is true on some rank; a barrier."""
    if world_size() == 1:
        return flags
    flags_F = _told([int(flag) for flag in flags])
    distributed.all_reduce(flags_F, op=distributed.ReduceOp.MAX)
    return [bool(flag) for flag in flags_F.tolist()]


def all_reduce_mean(*values: float) -> Sequence[float]:
    """Of each value, in float64; a barrier."""
    if world_size() == 1:
        return values
    values_V = _told(values, torch.float64)
    distributed.all_reduce(values_V)
    return [total / world_size() for total in values_V.tolist()]


def _told(values: Sequence[float], dtype: torch.dtype = torch.int64) -> Tensor:
    """Where the group's back end wants it."""
    return torch.tensor(
        values, dtype=dtype, device="cuda" if distributed.get_backend() == "nccl" else "cpu"
    )
