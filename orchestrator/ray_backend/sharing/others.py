"""What other jobs hold of every node, told apart from what is ours. Pure.

Ray says what of a node is taken, not by whom, and says it late: a stage that it has just placed, or
that has just ended, is in its figures before or after we know of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Amounts = Mapping[str, float]  # of one rank or node, by Ray's names: CPU, GPU, memory (in bytes)
COUNTED = ("CPU", "GPU", "memory")
_ROUNDING = 1e-3  # Ray counts in ten-thousandths


@dataclass(frozen=True)
class Place:
    """What one process of ours takes of a node."""

    node: str  # its id
    amounts: Amounts


class OtherJobs:
    """What other jobs hold, from one look at the cluster to the next.

    Where more is taken than before, and a stage of ours may have been placed since, or one that has
    ended may not have been taken off yet, it is that; only what cannot be explained so is others'.
    """

    def __init__(self) -> None:
        self._held: dict[str, dict[str, float]] = {}  # by node, as of the last look

    def look(
        self,
        taken: Mapping[str, Amounts],
        placed: Iterable[Place],
        waiting: Iterable[Amounts] = (),
        ended: Iterable[Place] = (),
    ) -> Mapping[str, Amounts]:
        """Return what other jobs hold of each node in ``taken``, which says what anybody holds.

        ``placed``: our processes that have said where they run. ``waiting``: what each of those
        takes that have not. ``ended``: those whose end Ray may not have counted yet.
        """
        left = {node: _counted(held) for node, held in taken.items()}
        for place in placed:
            _take(left.get(place.node), place.amounts)
        growth = {node: self._growth(node, amounts) for node, amounts in left.items()}
        for place in ended:
            self._explain(place.amounts, [place.node], growth, left)
        for amounts in sorted(waiting, key=_size, reverse=True):
            self._explain(amounts, list(growth), growth, left)
        self._held = left
        return left

    def _growth(self, node: str, amounts: Amounts) -> dict[str, float]:
        """Return how much more of a node is unaccounted for than at the last look."""
        before = self._held.get(node, {})
        return {name: max(0.0, amounts[name] - before.get(name, 0.0)) for name in COUNTED}

    def _explain(
        self,
        amounts: Amounts,
        nodes: Sequence[str],
        growth: Mapping[str, dict[str, float]],
        left: Mapping[str, dict[str, float]],
    ) -> None:
        """Take a process of ours off the first of these nodes that has grown by so much."""
        for node in nodes:
            if node in growth and _covers(growth[node], amounts):
                _take(growth[node], amounts)
                _take(left[node], amounts)
                return


def taken_of(totals: Mapping[str, Amounts], free: Mapping[str, Amounts]) -> dict[str, Amounts]:
    """Return what anybody holds of each node, by its id, given what it has and what is free of it.

    A node of which it is not known what is free has just come: nobody holds anything of it.
    """
    return {
        node: {
            name: total.get(name, 0.0) - free.get(node, total).get(name, 0.0) for name in COUNTED
        }
        for node, total in totals.items()
    }


def _counted(amounts: Amounts) -> dict[str, float]:
    return {name: amounts.get(name, 0.0) for name in COUNTED}


def _covers(growth: Amounts, amounts: Amounts) -> bool:
    return all(growth[name] + _ROUNDING >= amounts.get(name, 0.0) for name in COUNTED)


def _take(held: dict[str, float] | None, amounts: Amounts) -> None:
    """Take the amounts off what is held; a node that is gone holds nothing."""
    if held is not None:
        held |= {name: max(0.0, held[name] - amounts.get(name, 0.0)) for name in COUNTED}


def _size(amounts: Amounts) -> tuple[float, ...]:
    return tuple(amounts.get(name, 0.0) for name in ("GPU", "CPU", "memory"))
