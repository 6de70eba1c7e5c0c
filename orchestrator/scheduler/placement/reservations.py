"""Room that is kept for stages that wait, by when those that run are expected to end. Pure."""

from bisect import bisect_left, insort
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.placement.packing import Packing, Places

NOT_KNOWN = inf  # seconds of which nothing is known: for ever, as far as that can be relied upon
MOST_RESERVATIONS = 8


class Held(NamedTuple):
    """A layout on the places that it holds, and the seconds in which its stage is to end."""

    ends_in_s: float
    layout: Layout
    places: Places


class Reservations:
    """The cluster as it will be each time that a stage with a reservation can start.

    Of each reservation there are the seconds until it is due, and what is left beside the reserved
    rooms then. They are made one after another, and each is due no sooner than the one before.
    """

    def __init__(self, now: Packing, held: Iterable[Held]) -> None:
        """``now``: the cluster with all that is ``held`` on it, in order of start."""
        self.due_s: list[float] = []
        self._beside: list[Packing] = []
        self._last = now
        self._held = sorted(held, key=_end)  # of what lies on the last cluster, in order of end

    @property
    def are_open(self) -> bool:
        """Whether another may be made.

        Where it is not known when the room of one is there, none comes after it.
        """
        return len(self.due_s) < MOST_RESERVATIONS and (not self.due_s or self.due_s[-1] > 0)

    def before(self, seconds: float) -> int:
        """Return how many of them are due before a stage of so many seconds would have ended."""
        return bisect_left(self.due_s, seconds)

    def leave(self, layout: Layout, seconds: float) -> bool:
        """Whether a stage that begins now keeps none of them waiting."""
        return all(each.fits(layout) for each in self._beside[: self.before(seconds)])

    def let_in(self, layout: Layout, seconds: float) -> None:
        """See a stage begin now that keeps none of them waiting."""
        before = self.before(seconds)
        for each in self._beside[:before]:
            if each is not self._last:
                each.hold(layout)
        if before == len(self.due_s):
            self._hold(layout, seconds)

    def _hold(self, layout: Layout, ends_in_s: float) -> None:
        insort(self._held, Held(ends_in_s, layout, self._last.hold(layout)), key=_end)

    def make(self, layout: Layout, seconds: float) -> bool:
        """Reserve the room that a layout will have once enough stages have ended; or return False.

        Those end first that are expected to, then the earliest started. Where it is not known when,
        the reservation is due at any moment.
        """
        cluster, number, due_s = self._last.copy(), 0, self.due_s[-1] if self.due_s else 0.0
        while not cluster.fits(layout):
            if number == len(self._held):
                return False
            ended = self._held[number]
            cluster.give_back(ended.layout, ended.places)
            due_s, number = max(due_s, ended.ends_in_s), number + 1
        del self._held[:number]
        self._last = cluster
        self._beside.append(cluster)
        self.due_s.append(0.0 if due_s == NOT_KNOWN else due_s)
        self._hold(layout, due_s + seconds)
        return True


def _end(held: Held) -> float:
    return held.ends_in_s
