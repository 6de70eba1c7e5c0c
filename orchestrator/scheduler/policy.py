"""What to start, hold back or give up, decided from frozen facts.

Pure: no clock, log, counter or cluster inside.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.layouts.capacity import (
    Capacity,
    FreeCapacity,
    describe_capacity,
    describe_needs,
    fits,
)
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.retries import Attempts
from orchestrator.stages.stage_specs import StageKind, StageSpec

# Rankings hold up the most cells, so they go first; then whatever finishes a cell soonest.
# Measuring comes last: on CPU it needs the machine for itself.
PRIORITY: Sequence[StageKind] = (
    StageKind.RANKING,
    StageKind.PRUNE,
    StageKind.EVALUATE,
    StageKind.DENSE,
    StageKind.TRANSFER,
    StageKind.MEASURE,
)


@dataclass(frozen=True)
class Running:
    """A stage that runs now, and what it takes of the cluster."""

    kind: StageKind
    layout: Layout = field(default_factory=Layout)


@dataclass(frozen=True)
class Facts:
    """All that a decision rests on. Every mapping is by the stage's key."""

    needs: Sequence[StageSpec]  # distinct stages that some cell or reference needs now
    layouts: Mapping[str, Layout] = field(default_factory=dict)  # default: one rank of one CPU
    alternatives: Mapping[str, Sequence[Layout]] = field(default_factory=dict)  # while it is taken
    refused: Mapping[str, str] = field(default_factory=dict)  # why a need has no layout
    running: Mapping[str, Running] = field(default_factory=dict)  # in order of start
    attempts: Mapping[str, Attempts] = field(default_factory=dict)
    claimed_elsewhere: Mapping[str, str] = field(default_factory=dict)  # who else works on it
    capacity: Capacity = field(default_factory=Capacity)
    largest_capacity: Capacity | None = None  # that it was or can become; default: capacity
    potential: Capacity | None = None  # the most that it can become by itself; default: capacity
    max_parallel: int | None = None  # stages at once, however much room there is
    measure_alone: bool = True  # whether a measurement must have the machine for itself


@dataclass(frozen=True)
class Start:
    spec: StageSpec
    layout: Layout = field(default_factory=Layout)


@dataclass(frozen=True)
class GiveUp:
    spec: StageSpec
    reason: str


@dataclass(frozen=True)
class Wait:
    spec: StageSpec
    reason: str
    for_room: Layout | None = None  # what it would take of a larger cluster; None: no room helps


Decision = Start | GiveUp | Wait


def distinct_needs(needed: Iterable[StageSpec]) -> tuple[StageSpec, ...]:
    """Return every needed stage once, a ranking as deep as the deepest of its cells needs it."""
    distinct: dict[str, StageSpec] = {}
    for spec in needed:
        known = distinct.get(spec.key, spec)
        distinct[spec.key] = replace(spec, depth=known.depth) if known.depth > spec.depth else spec
    return tuple(distinct.values())


def decide(facts: Facts, *, max_attempts: int) -> tuple[Decision, ...]:
    """Return one decision per needed stage that is not running, in order of priority."""
    admission = _Backfill(facts)
    at_work = [stage.kind for stage in facts.running.values()]
    decisions: list[Decision] = []
    for spec in sorted(facts.needs, key=lambda need: PRIORITY.index(need.kind)):
        if spec.key in facts.running:
            continue
        decision = _decision(spec, facts, max_attempts, at_work, admission)
        if isinstance(decision, Start):
            at_work.append(spec.kind)
        decisions.append(decision)
    return tuple(decisions)


def _decision(
    spec: StageSpec,
    facts: Facts,
    max_attempts: int,
    at_work: Sequence[StageKind],
    admission: "_Backfill",
) -> Decision:
    """Return what becomes of one need, beside the stages ``at_work``: running, or started before.

    Admission comes last, for it takes room: what is given up or held back for another reason
    neither takes room nor has a reservation.
    """
    hopeless = _hopeless(spec, facts, max_attempts)
    if hopeless:
        return GiveUp(spec, hopeless)
    held_back = _held_back(spec, facts, at_work)
    if held_back:
        return Wait(spec, held_back)
    layouts = _layouts(spec, facts)
    admitted = admission.admit(layouts)
    if isinstance(admitted, str):
        return Wait(spec, admitted, for_room=layouts[0])
    return Start(spec, admitted)


def _layouts(spec: StageSpec, facts: Facts) -> tuple[Layout, ...]:
    """Return the layouts that a stage may have, the best first."""
    return facts.layouts.get(spec.key, Layout()), *facts.alternatives.get(spec.key, ())


def _hopeless(spec: StageSpec, facts: Facts, max_attempts: int) -> str:
    """Return why no attempt is worth while; "" where one is."""
    attempts = facts.attempts.get(spec.key, Attempts())
    if attempts.failed >= max_attempts or not attempts.retryable:
        return attempts.message
    if spec.key in facts.refused:
        return facts.refused[spec.key]
    layouts = _layouts(spec, facts)
    largest = facts.largest_capacity or facts.capacity
    if any(fits(facts.capacity, layout) or fits(largest, layout) for layout in layouts):
        return ""
    whole = "the whole cluster has"
    if largest != facts.capacity:
        whole = "the largest that the cluster can become has"
    return f"needs {describe_needs(layouts[0])}; {whole} {describe_capacity(largest)}"


def _held_back(spec: StageSpec, facts: Facts, at_work: Sequence[StageKind]) -> str:
    """Return why the stage waits for others, however much room there is; "" where it need not."""
    if spec.key in facts.claimed_elsewhere:
        return f"{facts.claimed_elsewhere[spec.key]} works on it"
    if not facts.measure_alone:
        return ""
    if StageKind.MEASURE in at_work:
        return "a measurement has the machine for itself"
    if spec.kind is StageKind.MEASURE and at_work:
        return "waits for a quiet machine"
    return ""


class _Backfill:
    """EASY backfilling over what the cluster has: a stage that has to wait is sure to get its room.

    Only the first stage that does not fit now has a reservation: the room that there will be when
    enough of those running have ended, the earliest started first. Stages behind it are backfilled
    where they take nothing of that room: small ones use what the big one leaves over, and cannot
    keep it waiting for longer than those that ran before it. How long a stage runs is not known,
    so none is backfilled into the reserved room because it would end in time.
    """

    def __init__(self, facts: Facts) -> None:
        self._most = facts.max_parallel
        self._capacity = facts.capacity
        self._potential = facts.potential or facts.capacity
        self._running = [stage.layout for stage in facts.running.values()]
        self._free = FreeCapacity.of(facts.capacity, self._running)
        self._beside_reservation: FreeCapacity | None = None  # None: nobody has a reservation

    def admit(self, layouts: Sequence[Layout]) -> Layout | str:
        """Take what one of the layouts needs and return it; else return what the stage waits for.

        They come best first: the first for which there is room now is taken, or waited for.
        """
        if self._most is not None and len(self._running) >= self._most:
            return "waits for a free slot"
        for layout in layouts:
            if self._taken(layout):
                return layout
        best = next((layout for layout in layouts if fits(self._capacity, layout)), None)
        if best is None:
            come = "that can come" if fits(self._potential, layouts[0]) else "to come back"
            needs, there = describe_needs(layouts[0]), describe_capacity(self._capacity)
            return f"needs {needs}, and waits for nodes {come}: there are {there}"
        if self._beside_reservation is not None and self._free.without(best) is not None:
            return "waits behind a larger stage"
        if self._beside_reservation is None:
            self._beside_reservation = self._left_beside(best)
        return f"waits for {describe_needs(best)}"

    def _taken(self, layout: Layout) -> bool:
        """Whether there is room for the layout, which is then taken."""
        free, beside = self._free.without(layout), None
        if free is not None and self._beside_reservation is not None:
            beside = self._beside_reservation.without(layout)
            free = None if beside is None else free
        if free is None:
            return False
        self._free, self._beside_reservation = free, beside
        self._running.append(layout)
        return True

    def _left_beside(self, layout: Layout) -> FreeCapacity:
        """Return what is left beside the layout once enough running stages have ended for it.

        The earliest started end first.
        """
        for ended in range(len(self._running) + 1):
            room = FreeCapacity.of(self._capacity, self._running[ended:]).without(layout)
            if room is not None:
                return room
        raise AssertionError("it fits an empty cluster")
