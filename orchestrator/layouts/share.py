"""How much of a cluster a grid takes: within its limits on memory and ``resources.share``. Pure."""

from dataclasses import replace

from orchestrator.grid.run_settings import NumberOfGpus, Resources, Share
from orchestrator.layouts.capacity import Capacity

# GPUs, and where there are none CPUs, that a plan counts on where the grid sets no limit.
UNLIMITED = 1024
_ROUNDING = 1e-9  # 29 % of 100 is 29, and not 28.999999999999996


def planned_capacity(resources: Resources) -> Capacity:
    """Return the cluster that the grid speaks of: one machine, as large as the grid allows.

    It has GPUs where the grid says so; where ``use_gpus`` is "auto", if ``gpu_memory`` is given. A
    share counts where it is a number of GPUs: what another would be a part of is not known.
    """
    most = resources.max_ranks
    if most is None:
        most = UNLIMITED if resources.ranks == "auto" else resources.ranks
    with_gpus = resources.use_gpus is True or (
        resources.use_gpus == "auto" and resources.gpu_memory is not None
    )
    if with_gpus and isinstance(resources.share, NumberOfGpus):
        most = min(most, resources.share.gpus)
    return Capacity(
        most * resources.cpus_per_rank,
        most if with_gpus else 0,
        resources.memory or 0,
        resources.gpu_memory or 0,
    )


def within(resources: Resources, capacity: Capacity, cluster: Capacity | None = None) -> Capacity:
    """Return what a grid of these ``resources`` may take of this capacity.

    ``cluster``: what its share is a part of; default: the capacity, with what other jobs hold.
    """
    limited = capacity.limited(resources.memory, resources.gpu_memory)
    if resources.share is None:
        return limited
    most = _share_of(cluster or capacity.in_all, resources.share)
    whole = capacity.whole and _at_most(limited.in_all, most)
    return replace(_at_most(limited, most), whole=whole)


def _share_of(cluster: Capacity, share: Share) -> Capacity:
    """Return how much of a cluster a share is: of its GPUs so many, of the rest the same part."""
    if isinstance(share, NumberOfGpus):
        part = min(1.0, share.gpus / cluster.gpus) if cluster.gpus else 1.0
    else:
        part = share.part
    return Capacity(
        cpus=int(cluster.cpus * part + _ROUNDING),
        gpus=int(cluster.gpus * part + _ROUNDING),
        memory_bytes=int(cluster.memory_bytes * part),
    )


def _at_most(capacity: Capacity, most: Capacity) -> Capacity:
    """Return a cluster of which no more than ``most`` is taken at once, nor on any one node."""
    return replace(
        capacity,
        cpus=min(capacity.cpus, most.cpus),
        gpus=min(capacity.gpus, most.gpus),
        memory_bytes=_smaller(capacity.memory_bytes, most.memory_bytes),
        nodes=tuple(replace(_at_most(node, most), limit=None) for node in capacity.nodes),
        limit=most,
    )


def _smaller(some_bytes: int, other_bytes: int) -> int:
    """Return the smaller of two memories; 0 is not known, and limits nothing."""
    if some_bytes and other_bytes:
        return min(some_bytes, other_bytes)
    return some_bytes or other_bytes
