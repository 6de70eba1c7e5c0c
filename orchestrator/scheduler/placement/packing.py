"""Layouts put on the nodes of a cluster one after another, hundreds of nodes and stages in no time.

It places them as ``FreeCapacity`` does, and keeps what that finds out anew each time. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from orchestrator.layouts.capacity import Capacity, fitting_ranks, misfit, without_ranks
from orchestrator.layouts.layout import Layout


@dataclass
class _Room:
    """Where ranks of one layout fit.

    ``heap``: what ``misfit`` says of a node, its index, and how often the node had changed then.
    """

    ranks: list[int]  # by node
    total: int
    heap: list[tuple[tuple[bool, float, int], int, int]]


class Packing:
    """What is free on each node of a cluster; ``take`` makes it less."""

    def __init__(self, capacity: Capacity, taken: Iterable[Layout] = ()) -> None:
        """Put the layouts ``taken`` on the cluster; one that does not fit takes nothing of a node.

        It counts against the limit all the same.
        """
        self.nodes = list(capacity.machines)
        self._limit = capacity.limit
        self._changes = [0] * len(self.nodes)
        self._rooms: dict[Layout, _Room] = {}
        for layout in taken:
            self._place(layout)
            self._count(layout)

    def fits(self, layout: Layout) -> bool:
        """Whether all ranks of the layout fit now."""
        return self._may_take(layout) and self._room(layout).total >= layout.ranks

    def take(self, layout: Layout) -> bool:
        """Put all ranks of the layout on nodes, or none; return whether they fitted."""
        if not self._may_take(layout) or not self._place(layout):
            return False
        self._count(layout)
        return True

    def _may_take(self, layout: Layout) -> bool:
        return self._limit is None or fitting_ranks(self._limit, layout) >= layout.ranks

    def _count(self, layout: Layout) -> None:
        """Count all ranks of the layout against the limit."""
        if self._limit is not None:
            self._limit = without_ranks(self._limit, layout, layout.ranks)

    def _place(self, layout: Layout) -> bool:
        """Put all ranks of the layout on nodes, or none, whatever the limit is."""
        room, missing = self._room(layout), layout.ranks
        if room.total < missing:
            return False
        while missing:
            _, index, changes = heappop(room.heap)
            if changes == self._changes[index]:
                here = min(missing, room.ranks[index])
                self._change(index, without_ranks(self.nodes[index], layout, here))
                missing -= here
        return True

    def _room(self, layout: Layout) -> _Room:
        room = self._rooms.get(layout)
        if room is None:
            ranks = [fitting_ranks(node, layout) for node in self.nodes]
            heap = [
                (misfit(node, layout), index, self._changes[index])
                for index, node in enumerate(self.nodes)
                if ranks[index]
            ]
            heapify(heap)
            room = self._rooms[layout] = _Room(ranks, sum(ranks), heap)
        return room

    def _change(self, index: int, node: Capacity) -> None:
        self.nodes[index] = node
        self._changes[index] += 1
        for layout, room in self._rooms.items():
            ranks = fitting_ranks(node, layout)
            room.total += ranks - room.ranks[index]
            room.ranks[index] = ranks
            if ranks:
                heappush(room.heap, (misfit(node, layout), index, self._changes[index]))
