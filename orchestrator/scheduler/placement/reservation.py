"""Room that is kept for a stage that waits, by when those that run are expected to end. Pure."""

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.placement.packing import Packing, Places

NOT_KNOWN = inf  # seconds of which nothing is known: for ever, as far as that can be relied upon


class Held(NamedTuple):
    """A layout on the places that it holds, and the seconds in which its stage is to end."""

    ends_in_s: float
    layout: Layout
    places: Places


class Reservation:
    """The cluster as it will be when a stage that waits can start.

    ``due_s``: the seconds until then; 0 where that may be at any moment, for it is not known.
    ``beside``: what is left beside the reserved room then.
    """

    def __init__(self, layout: Layout, now: Packing, held: Iterable[Held]) -> None:
        """Reserve the room that ``layout`` will have once enough stages have ended.

        ``now``: the cluster, with all that is ``held`` on it, in order of start. Those end first
        that are expected to, then the earliest started.
        """
        self.beside, self.due_s = now.copy(), 0.0
        for ended in sorted(held, key=lambda each: each.ends_in_s):
            if self.beside.fits(layout):
                break
            self.beside.give_back(ended.layout, ended.places)
            self.due_s = ended.ends_in_s
        if self.due_s == NOT_KNOWN:
            self.due_s = 0.0
        self.beside.hold(layout)

    def ends_in_time(self, seconds: float) -> bool:
        """Whether a stage of so many seconds that begins now has ended when the room is due."""
        return seconds <= self.due_s
