"""Room for one stage after another beside those that run: EASY backfilling. Pure."""

from collections.abc import Iterable, Sequence

from orchestrator.layouts.capacity import Capacity, describe_capacity, describe_needs, fits
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.placement.packing import Packing
from orchestrator.scheduler.placement.waiting import beside_others


class Backfill:
    """EASY backfilling over what the cluster has: a stage that has to wait is sure to get its room.

    Only the first stage that does not fit now has a reservation: the room that there will be when
    enough of those running have ended, the earliest started first. Stages behind it are backfilled
    where they take nothing of that room: small ones use what the big one leaves over, and cannot
    keep it waiting for longer than those that ran before it. How long a stage runs is not known,
    so none is backfilled into the reserved room because it would end in time.
    """

    def __init__(
        self,
        capacity: Capacity,
        running: Iterable[Layout],
        potential: Capacity | None = None,
        most: int | None = None,
    ) -> None:
        """``running``: in order of start. ``potential``: the most that the cluster can become by
        itself; default: ``capacity``. ``most``: stages at once, however much room there is.
        """
        self._most = most
        self._capacity = capacity
        self._potential = potential or capacity
        self._running = list(running)
        self._free = Packing(capacity, self._running)
        self._beside_reservation: Packing | None = None  # None: nobody has a reservation

    def admit(self, layouts: Sequence[Layout]) -> Layout | str:
        """Take what one of the layouts needs and return it; else return what the stage waits for.

        They come best first: the first for which there is room now is taken, or waited for.
        """
        if self._most is not None and len(self._running) >= self._most:
            return "waits for a free slot"
        for layout in layouts:
            if self._take(layout):
                return layout
        best = next((layout for layout in layouts if fits(self._capacity, layout)), None)
        if best is None:
            return self._too_small(layouts)
        if self._beside_reservation is not None and self._free.fits(best):
            return "waits behind a larger stage"
        if self._beside_reservation is None:
            self._beside_reservation = self._left_beside(best)
        return beside_others(best, self._capacity)

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

    def _take(self, layout: Layout) -> bool:
        """Take room for the layout, if there is any; return whether there was."""
        beside = self._beside_reservation
        if not self._free.fits(layout) or not (beside is None or beside.take(layout)):
            return False
        self._running.append(layout)
        return self._free.take(layout)

    def _left_beside(self, layout: Layout) -> Packing:
        """Return what is left beside the layout once enough running stages have ended for it.

        The earliest started end first: of those that end last, as many stay as leave it its room.
        """
        stay, kept = Packing(self._capacity), []
        for running in reversed(self._running):
            stay.take(running)
            if not stay.fits(layout):
                break
            kept.append(running)
        return Packing(self._capacity, [*kept, layout])
