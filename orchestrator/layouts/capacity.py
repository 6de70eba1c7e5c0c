"""What a cluster has, what of it is free, and what fits there: gangs whole or not at all.

Pure; where stages really go, Ray decides.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from orchestrator.layouts.layout import Layout, counted, gpus_text

_GB = 10**9


@dataclass(frozen=True)
class Capacity:
    """What a cluster, or one node of it, has for our stages, whether they have taken it or not.

    ``gpus``: whole ones; ``gpu_parts``: what is left of each of those that others have a part of.
    ``memory_bytes``: of all hosts. ``gpu_memory_bytes``: of one GPU, the smallest. 0 bytes: not
    known. ``nodes``: how all this lies on nodes; empty for a single machine. ``gpu_type``: Ray's
    name for the type of a single machine's GPUs; empty where it is not known: it may be any.
    ``whole``: the same cluster with what other jobs hold of it; None where they hold nothing.
    ``limit``: the most that may be taken at once, wherever it lies; None where that is all.
    """

    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0
    nodes: tuple["Capacity", ...] = ()
    gpu_type: str = ""
    gpu_parts: tuple[float, ...] = ()
    whole: "Capacity | None" = None
    limit: "Capacity | None" = None

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
            gpu_parts=tuple(part for node in parts for part in node.gpu_parts),
        )

    @property
    def machines(self) -> tuple["Capacity", ...]:
        """The nodes of a cluster, or the single machine itself."""
        return self.nodes or (self,)

    @property
    def in_all(self) -> "Capacity":
        """The cluster with what other jobs hold of it: what there can be for us once they end."""
        return self.whole or self

    def grown(self, coming: Iterable["Capacity"]) -> "Capacity":
        """Return this cluster with these nodes, of which nobody holds anything."""
        added = tuple(coming)
        whole = self.whole and self.whole.grown(added)
        return replace(Capacity.of([*self.machines, *added]), whole=whole)

    def limited(self, memory_bytes: int | None, gpu_memory_bytes: int | None) -> "Capacity":
        """Return what is left of this under limits on memory; None or 0: no limit.

        ``memory_bytes``: of all hosts together, divided among the nodes by their CPUs.
        ``gpu_memory_bytes``: of every GPU, whatever is known of it.
        """
        whole = self.whole and self.whole.limited(memory_bytes, gpu_memory_bytes)
        if self.nodes:
            nodes = (
                node.limited(
                    memory_bytes and memory_bytes * node.cpus // max(1, self.cpus),
                    gpu_memory_bytes,
                )
                for node in self.nodes
            )
            return replace(Capacity.of(nodes), whole=whole, limit=self.limit)
        memory = self.memory_bytes
        if memory_bytes:
            memory = min(self.memory_bytes or memory_bytes, memory_bytes)
        return replace(
            self,
            memory_bytes=memory,
            gpu_memory_bytes=gpu_memory_bytes or self.gpu_memory_bytes,
            whole=whole,
        )


@dataclass(frozen=True)
class FreeCapacity:
    """What is free on each node, and what of all that may still be taken: None for all."""

    nodes: tuple[Capacity, ...]
    limit: Capacity | None = None

    @classmethod
    def of(cls, capacity: Capacity, taken: Iterable[Layout] = ()) -> Self:
        """Return what is free of ``capacity`` beside stages that run in the layouts ``taken``.

        A layout that does not fit takes nothing of a node: its node was lost, and its stage will
        end, or it waits for other jobs to make room. It counts against the limit all the same.
        """
        free = cls(capacity.machines, capacity.limit)
        for layout in taken:
            free = free._on_nodes(layout) or free
            free = free._of_limit(layout)
        return free

    def without(self, layout: Layout) -> Self | None:
        """Return what is left beside all of the layout's ranks; None where they do not all fit.

        The ranks are put on as few nodes as possible. As Ray does it, a part of a GPU is taken of
        one that is partly taken already, where there is any, and what needs no GPU keeps away from
        those that are free.
        """
        if self.limit is not None and fitting_ranks(self.limit, layout) < layout.ranks:
            return None
        left = self._on_nodes(layout)
        return left and left._of_limit(layout)

    def _of_limit(self, layout: Layout) -> Self:
        """Return this with the layout counted against the limit."""
        if self.limit is None:
            return self
        return replace(self, limit=without_ranks(self.limit, layout, layout.ranks))

    def _on_nodes(self, layout: Layout) -> Self | None:
        """Return this without what the layout's ranks take of nodes; None where they do not fit."""
        nodes, missing = list(self.nodes), layout.ranks
        for index in sorted(range(len(nodes)), key=lambda i: misfit(nodes[i], layout)):
            here = min(missing, fitting_ranks(nodes[index], layout))
            nodes[index] = without_ranks(nodes[index], layout, here)
            missing -= here
        return replace(self, nodes=tuple(nodes)) if missing == 0 else None


def fits(capacity: Capacity, layout: Layout) -> bool:
    """Whether the cluster could run the layout if nothing else ran."""
    return FreeCapacity.of(capacity).without(layout) is not None


def most_ranks(capacity: Capacity, layout: Layout) -> int:
    """Return how many ranks of this layout's size the cluster holds for us."""
    there = sum(fitting_ranks(node, layout) for node in capacity.machines)
    return there if capacity.limit is None else min(there, fitting_ranks(capacity.limit, layout))


def describe_needs(layout: Layout) -> str:
    """Return what a layout takes, for people: ``8 x (1 GPU, 4 CPUs, 30.0 GB of memory)``."""
    gpus = gpus_text(layout.gpus, layout.gpu_type) if layout.gpus else ""
    text = ", ".join(_resources(gpus, layout.cpus, layout.memory_bytes))
    return f"{layout.ranks} x ({text})" if layout.ranks > 1 else text


def describe_capacity(capacity: Capacity) -> str:
    """Return what a cluster has, for people: ``16 GPUs, 64 CPUs, 512.0 GB of memory on 2 nodes``.

    Types of GPU are named where there are several. A single machine is not called a node.
    """
    types = Counter[str]()
    for node in capacity.machines:
        types[node.gpu_type] += node.gpus
    types = +types
    named = [gpus_text(types[name], name or "type unknown") for name in sorted(types)]
    several = len(named) > 1 and capacity.limit is None
    gpus = ", ".join(named) if several else counted(capacity.gpus, "GPU")
    text = ", ".join(_resources(gpus if types else "", capacity.cpus, capacity.memory_bytes))
    text = f"{text} on {len(capacity.nodes)} nodes" if len(capacity.nodes) > 1 else text
    return text if capacity.limit is None else f"{text} within resources.share"


def _resources(gpus: str, cpus: int, memory_bytes: int) -> list[str]:
    """Return resources for people, without GPUs and memory where there are none."""
    parts = [gpus] if gpus else []
    parts.append(counted(cpus, "CPU"))
    if memory_bytes:
        parts.append(f"{memory_bytes / _GB:.1f} GB of memory")
    return parts


def misfit(node: Capacity, layout: Layout) -> tuple[bool, float, int]:
    """Return a sort key: the node that a layout's ranks are put on first has the least."""
    wasted = not layout.gpus and node.gpus > 0
    part = min((part for part in node.gpu_parts if part >= layout.gpus), default=1.0)
    return wasted, part if layout.shares_gpu else 0.0, -fitting_ranks(node, layout)


def fitting_ranks(node: Capacity, layout: Layout) -> int:
    """Return how many ranks of the layout fit on a node; memory counts where it is known."""
    counts = [max(0, node.cpus) // max(1, layout.cpus)]
    if layout.gpus:
        counts.append(_fitting_on_gpus(node, layout))
    if layout.memory_bytes and node.memory_bytes:
        counts.append(max(0, node.memory_bytes) // layout.memory_bytes)
    return min(counts)


def _fitting_on_gpus(node: Capacity, layout: Layout) -> int:
    """Return for how many ranks of the layout a node has GPUs of its type.

    What takes a whole GPU goes on none that is partly taken.
    """
    if layout.gpu_type and node.gpu_type not in ("", layout.gpu_type):
        return 0
    if not layout.shares_gpu:
        return max(0, node.gpus) // int(layout.gpus)
    whole = int(1 / layout.gpus)
    return max(0, node.gpus) * whole + sum(int(part / layout.gpus) for part in node.gpu_parts)


def without_ranks(node: Capacity, layout: Layout, ranks: int) -> Capacity:
    """Return what is left of a node beside ``ranks`` ranks of the layout.

    A memory of 0 bytes would mean that it is not known: what is used up keeps one byte.
    """
    memory = 0
    if node.memory_bytes:
        memory = max(1, node.memory_bytes - ranks * layout.memory_bytes)
    gpus, parts = node.gpus, node.gpu_parts
    if layout.shares_gpu:
        for _ in range(ranks):
            gpus, parts = _without_part(gpus, parts, layout.gpus)
    else:
        gpus -= ranks * int(layout.gpus)
    return Capacity(  # dataclasses.replace takes three times as long
        node.cpus - ranks * layout.cpus,
        gpus,
        memory,
        node.gpu_memory_bytes,
        node.nodes,
        node.gpu_type,
        parts,
        node.whole,
        node.limit,
    )


def _without_part(
    gpus: int, parts: tuple[float, ...], part: float
) -> tuple[int, tuple[float, ...]]:
    """Return the whole GPUs and the parts that are left beside a part of one.

    It is taken, as Ray does it, where it leaves the least over; parts are halves of halves, so that
    no rounding comes between.
    """
    enough = [left for left in parts if left >= part]
    taken = min(enough, default=1.0)
    kept = list(parts)
    if enough:
        kept.remove(taken)
    left = (taken - part,) if taken > part else ()
    return gpus - (not enough), tuple(sorted((*kept, *left)))
