"""Layouts put on the nodes of a cluster one after another, hundreds of nodes and stages in no time.

It places them as ``FreeCapacity`` does, and keeps what that finds out anew each time. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from orchestrator.layouts.capacity import Capacity, fitting_ranks, misfit, without_ranks
from orchestrator.layouts.layout import Layout

Places = Sequence[tuple[int, int]]  # indices of nodes, and how many ranks of a layout lie on each


@dataclass
class _Room:
    """Where ranks of one layout fit.

    ``heap``: what ``misfit`` says of a node, its index, and how often the node had changed then.
    ``seen``: how many changes of nodes are in all this.
    """

    ranks: list[int]  # by node
    total: int
    heap: list[tuple[tuple[bool, float, int], int, int]]
    seen: int


class Packing:
    """What is free on each node of a cluster; ``take`` makes it less, ``give_back`` more."""

    def __init__(self, capacity: Capacity, taken: Iterable[Layout] = ()) -> None:
        """Put the layouts ``taken`` on the cluster; one that does not fit takes nothing of a node.

        It counts against the limit all the same.
        """
        self.nodes = list(capacity.machines)
        self._whole = tuple(self.nodes)
        self._limit = capacity.limit
        self._on: list[tuple[tuple[Layout, int], ...]] = [()] * len(self.nodes)
        self._changes = [0] * len(self.nodes)
        self._changed: list[int] = []  # the nodes, one change after another
        self._rooms: dict[Layout, _Room] = {}
        # By the layout's id, for hashing one is slow; with the layout, which keeps its id so.
        self._by_id: dict[int, tuple[_Room, Layout]] = {}
        for layout in taken:
            self.hold(layout)

    def copy(self) -> "Packing":
        """Return the same cluster with the same layouts on it."""
        other = Packing(Capacity(cpus=0))
        other.nodes, other._whole, other._limit = list(self.nodes), self._whole, self._limit
        other._on, other._changes = list(self._on), [0] * len(self.nodes)
        return other

    def fits(self, layout: Layout) -> bool:
        """Whether all ranks of the layout fit now."""
        return self._may_take(layout) and self._room(layout).total >= layout.ranks

    def take(self, layout: Layout) -> bool:
        """Put all ranks of the layout on nodes, or none; return whether they fitted."""
        return self.fits(layout) and self.hold(layout) != ()

    def hold(self, layout: Layout) -> Places:
        """Put all ranks of the layout on nodes, or none, whatever the limit is; return where.

        It counts against the limit also where it does not fit.
        """
        room, missing = self._room(layout), layout.ranks
        if self._limit is not None:
            self._limit = without_ranks(self._limit, layout, layout.ranks)
        if room.total < missing:
            return ()
        places = []
        while missing:
            _, index, changes = heappop(room.heap)
            if changes == self._changes[index]:
                here = min(missing, room.ranks[index])
                self._on[index] += ((layout, here),)
                self._change(index, without_ranks(self.nodes[index], layout, here))
                places.append((index, here))
                missing -= here
        return places

    def give_back(self, layout: Layout, places: Places) -> None:
        """Take all ranks of a layout off the nodes on which ``hold`` has put them."""
        if self._limit is not None:
            self._limit = without_ranks(self._limit, layout, -layout.ranks)
        for index, here in places:
            on = list(self._on[index])
            on.remove((layout, here))
            node = self._whole[index]
            for other, ranks in on:
                node = without_ranks(node, other, ranks)
            self._on[index] = tuple(on)
            self._change(index, node)

    def _may_take(self, layout: Layout) -> bool:
        return self._limit is None or fitting_ranks(self._limit, layout) >= layout.ranks

    def _room(self, layout: Layout) -> _Room:
        """Return where ranks of the layout fit now."""
        known = self._by_id.get(id(layout))
        if known is None:
            if layout not in self._rooms:
                self._rooms[layout] = self._new_room(layout)
            known = self._by_id[id(layout)] = self._rooms[layout], layout
        room, _ = known
        if room.seen < len(self._changed):
            self._refresh(room, layout)
        return room

    def _new_room(self, layout: Layout) -> _Room:
        ranks = [fitting_ranks(node, layout) for node in self.nodes]
        heap = [
            (misfit(node, layout), index, self._changes[index])
            for index, node in enumerate(self.nodes)
            if ranks[index]
        ]
        heapify(heap)
        return _Room(ranks, sum(ranks), heap, len(self._changed))

    def _refresh(self, room: _Room, layout: Layout) -> None:
        """Look at the nodes that have changed since the room was looked at."""
        for index in set(self._changed[room.seen :]):
            node = self.nodes[index]
            ranks = fitting_ranks(node, layout)
            room.total += ranks - room.ranks[index]
            room.ranks[index] = ranks
            if ranks:
                heappush(room.heap, (misfit(node, layout), index, self._changes[index]))
        room.seen = len(self._changed)

    def _change(self, index: int, node: Capacity) -> None:
        self.nodes[index] = node
        self._changes[index] += 1
        self._changed.append(index)
