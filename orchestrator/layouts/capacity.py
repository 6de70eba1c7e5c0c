"""What a cluster has, what of it is free, and what fits there: gangs whole or not at all.

Pure; where stages really go, Ray decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from orchestrator.layouts.layout import Layout, counted

_GB = 10**9


@dataclass(frozen=True)
class Capacity:
    """What a cluster, or one node of it, has for stages in all, whether it is free or not.

    ``memory_bytes``: of all hosts. ``gpu_memory_bytes``: of one GPU, the smallest. 0 bytes: not
    known. ``nodes``: how all this lies on nodes; empty for a single machine. ``gpu_type``: Ray's
    name for the type of a single machine's GPUs; empty where it is not known.
    """

    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0
    nodes: tuple["Capacity", ...] = ()
    gpu_type: str = ""

    @classmethod
    def of(cls, nodes: Iterable["Capacity"]) -> "Capacity":
        """Return the cluster of these nodes; in each, as in the whole, 0 bytes are not known."""
        parts = tuple(nodes)
        known_gpus = [node.gpu_memory_bytes for node in parts if node.gpu_memory_bytes]
        return cls(
            cpus=sum(node.cpus for node in parts),
            gpus=sum(node.gpus for node in parts),
            memory_bytes=sum(node.memory_bytes for node in parts),
            gpu_memory_bytes=min(known_gpus, default=0),
            nodes=parts,
        )

    @property
    def machines(self) -> tuple["Capacity", ...]:
        """The nodes of a cluster, or the single machine itself."""
        return self.nodes or (self,)

    def limited(self, memory_bytes: int | None, gpu_memory_bytes: int | None) -> "Capacity":
        """Return what is left of this under limits on memory; None or 0: no limit.

        ``memory_bytes``: of all hosts together, divided among the nodes by their CPUs.
        ``gpu_memory_bytes``: of every GPU, whatever is known of it.
        """
        if self.nodes:
            return Capacity.of(
                node.limited(
                    memory_bytes and memory_bytes * node.cpus // max(1, self.cpus),
                    gpu_memory_bytes,
                )
                for node in self.nodes
            )
        memory = self.memory_bytes
        if memory_bytes:
            memory = min(self.memory_bytes or memory_bytes, memory_bytes)
        return replace(
            self, memory_bytes=memory, gpu_memory_bytes=gpu_memory_bytes or self.gpu_memory_bytes
        )


@dataclass(frozen=True)
class FreeCapacity:
    """What is free on each node."""

    nodes: tuple[Capacity, ...]

    @classmethod
    def of(cls, capacity: Capacity, taken: Iterable[Layout] = ()) -> Self:
        """Return what is free of ``capacity`` beside stages that run in the layouts ``taken``.

        A layout that does not fit takes nothing: its node was lost, and its stage will end.
        """
        free = cls(capacity.machines)
        for layout in taken:
            free = free.without(layout) or free
        return free

    def without(self, layout: Layout) -> Self | None:
        """Return what is left beside all of the layout's ranks; None where they do not all fit.

        The ranks are put on as few nodes as possible.
        """
        nodes, missing = list(self.nodes), layout.ranks
        for index in sorted(range(len(nodes)), key=lambda i: -_fitting_ranks(nodes[i], layout)):
            here = min(missing, _fitting_ranks(nodes[index], layout))
            nodes[index] = _without_ranks(nodes[index], layout, here)
            missing -= here
        return replace(self, nodes=tuple(nodes)) if missing == 0 else None


def fits(capacity: Capacity, layout: Layout) -> bool:
    """Whether the cluster could run the layout if nothing else ran."""
    return FreeCapacity.of(capacity).without(layout) is not None


def most_ranks(capacity: Capacity, layout: Layout) -> int:
    """Return how many ranks of this layout's size the cluster holds."""
    return sum(_fitting_ranks(node, layout) for node in capacity.machines)


def describe_needs(layout: Layout) -> str:
    """Return what a layout takes, for people: ``8 x (1 GPU, 4 CPUs, 30.0 GB of memory)``."""
    text = ", ".join(_resources(layout.gpus, layout.cpus, layout.memory_bytes))
    return f"{layout.ranks} x ({text})" if layout.ranks > 1 else text


def describe_capacity(capacity: Capacity) -> str:
    """Return what a cluster has, for people: ``16 GPUs, 64 CPUs, 512.0 GB of memory on 2 nodes``.

    A single machine is not called a node.
    """
    text = ", ".join(_resources(capacity.gpus, capacity.cpus, capacity.memory_bytes))
    return f"{text} on {len(capacity.nodes)} nodes" if len(capacity.nodes) > 1 else text


def _resources(gpus: int, cpus: int, memory_bytes: int) -> list[str]:
    """Return resources for people, without GPUs and memory where they are 0."""
    parts = [counted(gpus, "GPU")] if gpus else []
    parts.append(counted(cpus, "CPU"))
    if memory_bytes:
        parts.append(f"{memory_bytes / _GB:.1f} GB of memory")
    return parts


def _fitting_ranks(node: Capacity, layout: Layout) -> int:
    """Return how many ranks of the layout fit on a node; memory counts where it is known."""
    counts = [max(0, node.cpus) // max(1, layout.cpus)]
    if layout.gpus:
        counts.append(max(0, node.gpus) // layout.gpus)
    if layout.memory_bytes and node.memory_bytes:
        counts.append(max(0, node.memory_bytes) // layout.memory_bytes)
    return min(counts)


def _without_ranks(node: Capacity, layout: Layout, ranks: int) -> Capacity:
    """Return what is left of a node beside ``ranks`` ranks of the layout.

    A memory of 0 bytes would mean that it is not known: what is used up keeps one byte.
    """
    memory = 0
    if node.memory_bytes:
        memory = max(1, node.memory_bytes - ranks * layout.memory_bytes)
    return replace(
        node,
        cpus=node.cpus - ranks * layout.cpus,
        gpus=node.gpus - ranks * layout.gpus,
        memory_bytes=memory,
    )
