"""Room for one stage after another beside those that run: EASY backfilling. Pure."""

from collections.abc import Iterable, Sequence

from orchestrator.layouts.capacity import Capacity, describe_capacity, describe_needs, fits
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.placement.packing import Packing
from orchestrator.scheduler.placement.reservation import NOT_KNOWN, Held, Reservation
from orchestrator.scheduler.placement.waiting import beside_others


class Backfill:
    """EASY backfilling over what the cluster has: a stage that has to wait is sure to get its room.

    The first stage that does not fit now has a reservation: the room that there will be when enough
    of those running have ended, by what is expected; of those of which nothing is known, the
    earliest started first. Stages behind it are backfilled where they take nothing of that room, or
    are expected to end before it is due.

    Expectations may be wrong. Then the stage waits for as long as those overrun that it found
    running, or that were let in before its room was due: once it is due, none is let into it.
    """

    def __init__(
        self,
        capacity: Capacity,
        running: Iterable[tuple[Layout, float]],
        potential: Capacity | None = None,
        most: int | None = None,
    ) -> None:
        """``running``: in order of start, with the seconds in which each is expected to end.

        ``potential``: the most that the cluster can become by itself; default: ``capacity``.
        ``most``: stages at once, however much room there is.
        """
        self._most = most
        self._capacity = capacity
        self._potential = potential or capacity
        self._empty, self._free = Packing(capacity), Packing(capacity)
        self._held = [
            Held(ends_in_s, layout, self._free.hold(layout)) for layout, ends_in_s in running
        ]
        self._spared = 0  # CPUs
        self.short = False  # whether one had to wait that has room once enough of ours have ended
        self._reservation: Reservation | None = None  # made when the first stage has to wait

    def like(self, seconds: float) -> tuple[bool, bool]:
        """Return what tells apart how stages of one layout and different seconds are refused."""
        reservation = self._reservation
        return reservation is None, reservation is not None and reservation.ends_in_time(seconds)

    def admit(self, layouts: Sequence[Layout], seconds: float = NOT_KNOWN) -> Layout | str:
        """Take what one of the layouts needs and return it; else return what the stage waits for.

        They come best first: the first for which there is room now is taken, or waited for.
        """
        if self._most is not None and len(self._held) >= self._most:
            self.short = True
            return "waits for a free slot"
        for layout in layouts:
            if self._take(layout, seconds):
                return layout
        best = next(filter(self._empty.fits, layouts), None)
        if best is None:
            return self._too_small(layouts)
        self.short = True
        if self._free.fits(best):
            return "waits behind a larger stage"
        if self._reservation is None:
            self._reservation = Reservation(best, self._free, self._held)
        return beside_others(best, self._capacity)

    def spare(self, layout: Layout) -> bool:
        """Take CPUs for a layout, wherever they lie, if that leaves all others where they are.

        So is asked for a node for itself: which stages lie on one node is not known.
        """
        free = sum(max(0, node.cpus) for node in self._free.nodes) - self._spared
        full = self._most is not None and len(self._held) >= self._most
        if full or free < layout.cpus:
            return False
        self._held.append(Held(NOT_KNOWN, layout, ()))
        self._spared += layout.cpus
        return True

    def _too_small(self, layouts: Sequence[Layout]) -> str:
        """Return what a stage waits for that would not fit if nothing of ours ran."""
        there = self._capacity.in_all
        best = next((layout for layout in layouts if fits(there, layout)), None)
        if best is not None:
            return beside_others(best, self._capacity)
        coming = next((each for each in layouts if fits(self._potential, each)), None)
        come = "that can come" if coming else "to come back"
        needs = describe_needs(coming or layouts[0])
        return f"needs {needs}, and waits for nodes {come}: there are {describe_capacity(there)}"

    def _take(self, layout: Layout, seconds: float) -> bool:
        """Take room for the layout, if there is any; return whether there was."""
        if not self._free.fits(layout):
            return False
        reservation = self._reservation
        in_time = reservation is None or reservation.ends_in_time(seconds)
        if reservation is not None and not in_time and not reservation.beside.take(layout):
            return False
        self._held.append(Held(seconds, layout, self._free.hold(layout)))
        return True
