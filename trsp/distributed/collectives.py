"""Which rank of the process group this process is, and what the ranks tell each other.

Where there is no group there is one rank. All functions that communicate are called by all ranks.
"""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed


def rank() -> int:
    """This process's rank; 0 where there is no group."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """The number of ranks; 1 where there is no group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def broadcast(value: int) -> int:
    """Return rank 0's ``value`` on all ranks; a barrier for them until rank 0 has come."""
    if world_size() == 1:
        return value
    tensor = _tensor([value])
    distributed.broadcast(tensor, src=0)
    return int(tensor.item())


def broadcast_json(value: Any) -> Any:
    """Return rank 0's JSON value on all ranks."""
    if world_size() == 1:
        return value
    encoded = json.dumps(value).encode()
    length = broadcast(len(encoded))
    content = _tensor(list(encoded) if rank() == 0 else [0] * length, torch.uint8)
    distributed.broadcast(content, src=0)
    return json.loads(bytes(content.tolist()))


def all_gather(value: int) -> Sequence[int]:
    """Return every rank's ``value``, in rank order; a barrier."""
    if world_size() == 1:
        return [value]
    values = [_tensor([0]) for _ in range(world_size())]
    distributed.all_gather(values, _tensor([value]))
    return [int(each.item()) for each in values]


def all_reduce_any(*flags: bool) -> Sequence[bool]:
    """Return, for every flag, whether it is true on some rank; a barrier."""
    if world_size() == 1:
        return flags
    flags_F = _tensor([int(flag) for flag in flags])
    distributed.all_reduce(flags_F, op=distributed.ReduceOp.MAX)
    return [bool(flag) for flag in flags_F.tolist()]


def all_reduce_mean(*values: float) -> Sequence[float]:
    """Return the mean of each value over the ranks, in float64; a barrier."""
    if world_size() == 1:
        return values
    values_V = _tensor(values, torch.float64)
    distributed.all_reduce(values_V)
    return [total / world_size() for total in values_V.tolist()]


def _tensor(values: Sequence[float], dtype: torch.dtype = torch.int64) -> Tensor:
    """``values`` on the device that the group's back end needs."""
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    return torch.tensor(values, dtype=dtype, device=device)
