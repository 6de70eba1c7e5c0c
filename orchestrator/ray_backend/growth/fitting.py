"""Bundles put on nodes as an autoscaler counts them. Pure.

A *bundle* is what one process takes, by Ray's names; a *group* is those of one stage.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf

Bundle = Mapping[str, float]
Group = Sequence[Bundle]
_ROUNDING = 1e-6


class Room:
    """What nodes have free, those that are there and those that can come; ``take`` makes it less.

    No more than ``may_come`` of those that can come are begun: all types together have a limit.
    """

    def __init__(
        self, there: Iterable[Bundle], coming: Iterable[Bundle] = (), may_come: float = inf
    ) -> None:
        self.free = [dict(node) for node in there]
        self._there = len(self.free)
        self.free += [dict(node) for node in coming]
        self._may_come = may_come
        self._begun: set[int] = set()  # those of the nodes to come of which something is taken
        self._too_large: list[Group] = []  # what did not fit does not fit later

    def take(self, group: Group) -> bool:
        """Put all of a group's bundles on nodes, or none; return whether they fitted."""
        if group in self._too_large:
            return False
        before, placed = set(self._begun), list[int]()
        for bundle in group:
            index = self._first_that_fits(bundle)
            if index is None:
                self._too_large.append(group)
                for taken, back in zip(placed, group, strict=False):
                    _take(self.free[taken], back, -1)
                self._begun = before
                return False
            _take(self.free[index], bundle, 1)
            placed.append(index)
            if index >= self._there:
                self._begun.add(index)
        return True

    def _first_that_fits(self, bundle: Bundle) -> int | None:
        full = len(self._begun) >= self._may_come
        for index, node in enumerate(self.free):
            if full and index >= self._there and index not in self._begun:
                continue
            if _fits(node, bundle):
                return index
        return None


def beside(nodes: Iterable[Bundle], held: Iterable[Bundle]) -> list[dict[str, float]]:
    """Return what is left of nodes beside processes that hold so much, on whichever they fit.

    Nodes of which nothing is left are left out; and so is what fits on none.
    """
    room = Room(nodes)
    for bundle in held:
        room.take([bundle])
    return [node for node in room.free if any(amount > _ROUNDING for amount in node.values())]


def _fits(node: Bundle, bundle: Bundle) -> bool:
    """Whether there is room; a memory that no one knows is enough."""
    return all(
        node.get(name, inf if name == "memory" else 0) + _ROUNDING >= amount
        for name, amount in bundle.items()
    )


def _take(node: dict[str, float], bundle: Bundle, sign: int) -> None:
    for name, amount in bundle.items():
        if name in node:
            node[name] -= sign * amount
