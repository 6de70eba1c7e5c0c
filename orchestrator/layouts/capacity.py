"""What a cluster has, what of it is free, and what fits there: gangs whole or not at all.

Pure; where stages really go, Ray decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from orchestrator.layouts.layout import Layout, counted


@dataclass(frozen=True)
class Capacity:
    """What a cluster has for stages in all, free or not; with ``nodes``, also how it lies. 0 bytes: not known.

    ``memory_bytes``: of the hosts. ``gpu_memory_bytes``: of one GPU, the smallest. Without ``nodes`` it is one machine.
    """

    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0
    nodes: tuple["Capacity", ...] = ()

    @classmethod
    def of(cls, nodes: Iterable["Capacity"]) -> "Capacity":
        """The cluster of these nodes; in each, as in the whole, a size that is not known is 0."""
        parts = tuple(nodes)
        return cls(
            cpus=sum(node.cpus for node in parts),
            gpus=sum(node.gpus for node in parts),
            memory_bytes=sum(node.memory_bytes for node in parts),
            gpu_memory_bytes=min(
                (node.gpu_memory_bytes for node in parts if node.gpu_memory_bytes), default=0
            ),
            nodes=parts,
        )

    def limited(self, memory_bytes: int | None, gpu_memory_bytes: int | None) -> "Capacity":
        """With no more host memory than this in all, shared out by the nodes' CPUs, and this much on every GPU."""
        nodes = tuple(
            node.limited(
                memory_bytes and memory_bytes * node.cpus // max(1, self.cpus), gpu_memory_bytes
            )
            for node in self.nodes
        )
        if nodes:
            return Capacity.of(nodes)
        memory = (
            min(self.memory_bytes or memory_bytes, memory_bytes)
            if memory_bytes
            else self.memory_bytes
        )
        return replace(
            self, memory_bytes=memory, gpu_memory_bytes=gpu_memory_bytes or self.gpu_memory_bytes
        )


_GB = 10**9


@dataclass(frozen=True)
class FreeCapacity:
    """What is left of each node."""

    nodes: tuple[Capacity, ...]

    @classmethod
    def of(cls, capacity: Capacity, taken: Iterable[Layout] = ()) -> Self:
        room = cls(capacity.nodes or (capacity,))
        for layout in taken:
            room = (
                room.without(layout) or room
            )  # where more runs than fits a node was lost, and its stages will end
        return room

    def without(self, layout: Layout) -> Self | None:
        """What is left beside all of the layout's ranks, on as few nodes as possible; None where they do not all fit."""
        nodes, missing = list(self.nodes), layout.ranks
        for index in sorted(range(len(nodes)), key=lambda index: -_fitting(nodes[index], layout)):
            here = min(missing, _fitting(nodes[index], layout))
            nodes[index] = _less(nodes[index], layout, here)
            missing -= here
        return replace(self, nodes=tuple(nodes)) if missing == 0 else None


def fits(capacity: Capacity, layout: Layout) -> bool:
    """Whether the cluster could run it if nothing else ran."""
    return FreeCapacity.of(capacity).without(layout) is not None


def most_ranks(capacity: Capacity, layout: Layout) -> int:
    """How many ranks of this size the cluster holds."""
    return sum(_fitting(node, layout) for node in capacity.nodes or (capacity,))


def needed(layout: Layout) -> str:
    """For people: ``8 x (1 GPU, 4 CPUs, 30.0 GB of memory)``."""
    parts = [counted(layout.gpus, "GPU")] if layout.gpus else []
    parts += [counted(layout.cpus, "CPU")]
    parts += [f"{layout.memory_bytes / _GB:.1f} GB of memory"] if layout.memory_bytes else []
    return f"{layout.ranks} x ({', '.join(parts)})" if layout.ranks > 1 else ", ".join(parts)


def offered(capacity: Capacity) -> str:
    """For people: ``16 GPUs, 64 CPUs and 512.0 GB of memory on 2 nodes``."""
    parts = [counted(capacity.gpus, "GPU")] if capacity.gpus else []
    parts += [counted(capacity.cpus, "CPU")]
    parts += [f"{capacity.memory_bytes / _GB:.1f} GB of memory"] if capacity.memory_bytes else []
    nodes = len(capacity.nodes)
    return f"{', '.join(parts)}{f' on {nodes} nodes' if nodes > 1 else ''}"


def _fitting(node: Capacity, layout: Layout) -> int:
    """Ranks that fit on a node, of a memory that is known."""
    counts = [max(0, node.cpus) // max(1, layout.cpus)]
    if layout.gpus:
        counts.append(max(0, node.gpus) // layout.gpus)
    if layout.memory_bytes and node.memory_bytes:
        counts.append(max(0, node.memory_bytes) // layout.memory_bytes)
    return min(counts)


def _less(node: Capacity, layout: Layout, ranks: int) -> Capacity:
    # A memory of 0 would mean that it is not known: what is used up whole keeps one byte.
    memory = max(1, node.memory_bytes - ranks * layout.memory_bytes) if node.memory_bytes else 0
    return replace(
        node,
        cpus=node.cpus - ranks * layout.cpus,
        gpus=node.gpus - ranks * layout.gpus,
        memory_bytes=memory,
    )
