"""Which rank of the process group this process is, and what rank 0 tells the others. One rank where there is no group."""

import torch
from torch import distributed


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def from_rank_0(value: int) -> int:
    """Rank 0's ``value``, on all ranks; called by all, and a barrier for them until rank 0 has come."""
    if world_size() == 1:
        return value
    told = torch.tensor([value], device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    distributed.broadcast(told, src=0)
    return int(told.item())
