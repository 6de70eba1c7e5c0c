"""A cluster in a simulation: ranks lie on certain nodes, as Ray puts them; nodes come and go."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.layouts.capacity import Capacity, fitting_ranks, misfit, without_ranks
from orchestrator.layouts.layout import Layout


@dataclass(frozen=True)
class NodeChange:
    """A node that comes or goes. ``node`` is its number; what comes has ``capacity``."""

    at_s: float
    node: int
    capacity: Capacity | None = None  # None: it goes


class SimulatedCluster:
    """Which node has how much, and what each stage holds of it."""

    def __init__(self, nodes: Sequence[Capacity]) -> None:
        self._whole = dict(enumerate(nodes))
        self._free = dict(self._whole)
        self._held: dict[int, dict[str, tuple[Layout, int]]] = {each: {} for each in self._whole}
        self.capacity = Capacity.of(self._whole.values())

    def place(self, name: str, layout: Layout) -> bool:
        """Put all ranks of a stage on nodes as ``Packing`` does; False, and none, without room."""
        there = [(each, fitting_ranks(node, layout)) for each, node in self._free.items()]
        if sum(ranks for _, ranks in there) < layout.ranks:
            return False
        fitting = [
            (misfit(self._free[each], layout), each, ranks) for each, ranks in there if ranks
        ]
        missing = layout.ranks
        for _, number, ranks in sorted(fitting):
            here = min(missing, ranks)
            if not here:
                break
            self._free[number] = without_ranks(self._free[number], layout, here)
            self._held[number][name] = layout, here
            missing -= here
        return True

    def free(self, name: str) -> None:
        """Take a stage off the nodes that it lies on."""
        for number, held in self._held.items():
            if held.pop(name, None):
                left = self._whole[number]
                for layout, ranks in held.values():
                    left = without_ranks(left, layout, ranks)
                self._free[number] = left

    def nodes_of(self, name: str) -> tuple[int, ...]:
        """Return the numbers of the nodes that a stage lies on."""
        return tuple(number for number, held in self._held.items() if name in held)

    def change(self, change: NodeChange) -> tuple[str, ...]:
        """Let a node come or go; return the stages that lay on it, which hold nothing any more."""
        lost: tuple[str, ...] = ()
        if change.capacity is not None:
            self._whole[change.node] = self._free[change.node] = change.capacity
            self._held[change.node] = {}
        else:
            lost = tuple(self._held[change.node])
            del self._whole[change.node], self._free[change.node], self._held[change.node]
            for name in lost:
                self.free(name)
        self.capacity = Capacity.of(self._whole.values())
        return lost
