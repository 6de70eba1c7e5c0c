"""What a grid wants of a cluster that can grow: room for what runs and for what waits for room.

Pure but for the launcher, which is told when that changes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from orchestrator.execution.launcher import Launcher
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity, FreeCapacity, most_ranks
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.policy import Decision, Facts, Start, Wait


def wanted_layouts(
    running: Iterable[Layout],
    waiting: Iterable[Layout],
    potential: Capacity,
    max_parallel: int | None = None,
) -> tuple[Layout, ...]:
    """Return what runs and what could run beside it, were the cluster as large as it can become.

    Those that wait come in their order, as far as they fit into ``potential`` and, with what runs,
    are no more than ``max_parallel``. Nothing where no waiting stage could start so: then no node
    is to come, and those that are there are kept by what runs on them.
    """
    at_work = tuple(running)
    places = (max_parallel or 0) - len(at_work) if max_parallel else None
    free = FreeCapacity.of(potential, at_work)
    added: list[Layout] = []
    for layout, equal in groupby(waiting):
        number = len(list(equal))
        if places is not None:
            number = min(number, max(0, places - len(added)))
        for taken in _batches(layout, number, free):
            left = free.without(taken)
            if left is None:
                break
            free = left
            added += [layout] * (taken.ranks // layout.ranks)
    return (*at_work, *added) if added else ()


def _batches(layout: Layout, number: int, free: FreeCapacity) -> Iterator[Layout]:
    """Yield so many stages of one layout as layouts to be placed: single ranks all at once."""
    if layout.ranks > 1:
        yield from [layout] * number
        return
    room = min(number, most_ranks(Capacity(nodes=free.nodes), layout))
    if room:
        yield replace(layout, ranks=room)


class NodeDemand:
    """What the cluster has and can become for this grid, and what the grid wants it to be."""

    def __init__(self, launcher: Launcher, resources: Resources) -> None:
        self._launcher = launcher
        self._resources = resources
        self._asked: tuple[Layout, ...] = ()
        self._basis: object = None
        self.potential = Capacity(cpus=0)  # as last seen

    def look(self) -> Capacity:
        """Return what the cluster has now, and see what it can become.

        Both within the grid's limits on memory.
        """
        limits = self._resources.memory, self._resources.gpu_memory
        self.potential = self._launcher.potential().limited(*limits)
        return self._launcher.capacity().limited(*limits)

    def follow(self, facts: Facts, decisions: Sequence[Decision]) -> None:
        """Tell the launcher what runs, starts, or waits for room, whenever that has changed."""
        at_work = [stage.layout for stage in facts.running.values()]
        at_work += [each.layout for each in decisions if isinstance(each, Start)]
        waiting = [each.for_room for each in decisions if isinstance(each, Wait) and each.for_room]
        basis = at_work, waiting, self.potential
        if basis == self._basis:
            return
        self._basis = basis
        wanted = wanted_layouts(at_work, waiting, self.potential, self._resources.max_parallel)
        if wanted != self._asked:
            self._asked = wanted
            self._launcher.request(wanted)
