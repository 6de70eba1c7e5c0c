"""What a grid wants of a cluster that can grow: room for what runs and for what waits for room.

Pure but for the launcher, which is told when that changes.
"""

import time
from collections.abc import Callable, Iterable, Sequence

from orchestrator.execution.launcher import Launcher
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.share import within
from orchestrator.scheduler.placement.packing import Packing
from orchestrator.scheduler.policy import Decision, Facts, Start, Wait

REPEAT_S = 30.0


def wanted_layouts(
    running: Iterable[Layout],
    waiting: Iterable[Sequence[Layout]],
    potential: Capacity,
    max_parallel: int | None = None,
) -> tuple[Layout, ...]:
    """Return what runs and what could run beside it, were the cluster as large as it can become.

    Those that wait come in their order, each in the first of its layouts that fits into
    ``potential``, and, with what runs, are no more than ``max_parallel``. Nothing where no waiting
    stage could start so: then no node is to come, and those that are there are kept by what runs on
    them.
    """
    at_work = tuple(running)
    places = (max_parallel or 0) - len(at_work) if max_parallel else None
    free = Packing(potential, at_work)
    added: list[Layout] = []
    too_large: set[Layout] = set()
    for layouts in waiting:
        if places is not None and len(added) >= places:
            break
        for layout in layouts:
            if layout not in too_large and free.take(layout):
                added.append(layout)
                break
            too_large.add(layout)
    return (*at_work, *added) if added else ()


class NodeDemand:
    """What the cluster has and can become for this grid, and what the grid wants it to be."""

    def __init__(
        self,
        launcher: Launcher,
        resources: Resources,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` gives seconds."""
        self._launcher = launcher
        self._resources = resources
        self._clock = clock
        self._wanted: tuple[Layout, ...] = ()
        self._beside: object = None  # what ran, and what others held, when asked
        self._asked_at: float | None = None
        self._basis: object = None
        self.potential = Capacity(cpus=0)  # as last seen

    def look(self) -> Capacity:
        """Return what the cluster has for us now, and see what it can become.

        Both within the grid's limits on memory and its share of what the cluster can become: else
        a gang that waits for nodes would find that most of those that came are not its own. What
        was asked for is asked for again after a while, for whoever kept it may be gone; and so is
        nothing, for that may not have been heard.
        """
        if self._asked_at is not None and self._clock() - self._asked_at >= REPEAT_S:
            self._ask()
        potential = self._launcher.potential()
        self.potential = within(self._resources, potential)
        return within(self._resources, self._launcher.capacity(), potential.in_all)

    def follow(self, facts: Facts, decisions: Sequence[Decision]) -> None:
        """Tell the launcher what runs, starts, or waits for room, whenever that has changed."""
        at_work = [stage.layout for stage in facts.running.values() if stage.begun]
        # Until its processes are there, a node that came for a stage looks idle, and may be taken.
        waiting: list[Sequence[Layout]] = [
            (stage.layout,) for stage in facts.running.values() if not stage.begun
        ]
        waiting += [(each.layout,) for each in decisions if isinstance(each, Start)]
        waiting += [each.for_room for each in decisions if isinstance(each, Wait) and each.for_room]
        held = facts.capacity.whole and facts.capacity
        basis = at_work, waiting, self.potential, held
        if basis == self._basis:
            return
        self._basis = basis
        wanted = wanted_layouts(at_work, waiting, self.potential, self._resources.max_parallel)
        beside = (at_work, held) if wanted else None  # which the launcher tells of, too
        if (wanted, beside) != (self._wanted, self._beside):
            self._wanted, self._beside = wanted, beside
            self._ask()

    def _ask(self) -> None:
        """Tell the launcher what is wanted; it adds what others hold."""
        self._asked_at = self._clock()
        self._launcher.request(self._wanted)
