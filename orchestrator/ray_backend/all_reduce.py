"""One all-reduce over a gang, as stages run theirs: whether it is right, and how fast.

For workers: the gang is started from within a Ray task.
"""

import os
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import ray

from orchestrator.layouts.layout import Layout

NUMBERS = {"nccl": 64 * 2**20, "gloo": 4 * 2**20}  # float32 that are summed, by back end
REPEATS = 5
COLLECTIVE_LIMIT_S = 60


@dataclass(frozen=True)
class AllReduced:
    """What the all-reduce of a gang came to.

    ``bytes_per_second`` is what each link carried (NCCL's bus bandwidth: of S bytes in t seconds on
    N ranks, 2 (N - 1) / N S / t). ``nodes``: Ray's id of each rank's node. ``nccl``: its version,
    empty under gloo.
    """

    backend: str
    nodes: tuple[str, ...]
    is_right: bool
    bytes_per_second: float
    nccl: str = ""


def all_reduce_over_gang(layout: Layout) -> AllReduced:
    """Run one all-reduce on all ranks of this layout, spread over as many nodes as possible.

    Blocks until the gang has run. Raises what a rank raised, or Ray Train's error.
    """
    from orchestrator.ray_backend.gang import SETTINGS, gang_trainer  # loads torch

    os.environ.update(SETTINGS)
    box = ray.remote(num_cpus=0)(_Box).remote()
    with tempfile.TemporaryDirectory(prefix="trsp-doctor-") as folder:
        gang_trainer(
            _rank_main, {"box": box}, layout, COLLECTIVE_LIMIT_S, folder, placement="SPREAD"
        ).fit()
    ranks: list[AllReduced] = ray.get(box.content.remote())
    return AllReduced(
        ranks[0].backend,
        tuple(node for rank in ranks for node in rank.nodes),
        len(ranks) == layout.ranks and all(rank.is_right for rank in ranks),
        min(rank.bytes_per_second for rank in ranks),
        ranks[0].nccl,
    )


class _Box:
    """An actor that keeps what the ranks put into it."""

    def __init__(self) -> None:
        self._content: list[AllReduced] = []

    def put(self, found: AllReduced) -> None:
        self._content.append(found)

    def content(self) -> list[AllReduced]:
        return self._content


def _rank_main(config: dict[str, Any]) -> None:
    """Sum tensors over all ranks in this one, and put what came of it into ``config["box"]``."""
    import torch
    from torch import distributed

    backend, ranks = distributed.get_backend(), distributed.get_world_size()
    device = torch.device("cuda" if backend == "nccl" else "cpu")
    mine_N = torch.full((NUMBERS[backend],), float(distributed.get_rank() + 1), device=device)
    sum_N = mine_N.clone()
    distributed.all_reduce(sum_N)  # the first sets connections up
    is_right = bool((sum_N == ranks * (ranks + 1) / 2).all())
    seconds = _seconds_per_sum(mine_N)
    carried_bytes = 2 * (ranks - 1) / ranks * mine_N.numel() * mine_N.element_size()
    node = ray.get_runtime_context().get_node_id()
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if backend == "nccl" else ""
    found = AllReduced(backend, (node,), is_right, carried_bytes / seconds, nccl)
    ray.get(config["box"].put.remote(found))


def _seconds_per_sum(numbers_N: Any) -> float:
    """Return the wall time of one all-reduce of the numbers, the mean of some."""
    from torch import distributed

    from trsp.distributed.device import synchronize

    synchronize(numbers_N.device)
    begun = time.perf_counter()
    for _ in range(REPEATS):
        distributed.all_reduce(numbers_N)
    synchronize(numbers_N.device)
    return (time.perf_counter() - begun) / REPEATS
