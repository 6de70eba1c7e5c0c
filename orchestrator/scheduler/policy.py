"""What to start, hold back or give up, decided from frozen facts.

Pure: no clock, log, counter or cluster inside.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.layouts.capacity import (
    Capacity,
    describe_capacity,
    describe_needs,
    fits,
)
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.packing import Packing
from orchestrator.scheduler.retries import Attempts
from orchestrator.scheduler.waiting import beside_others, describe_others, has_quiet_node
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


_ONE_CPU = Layout()
_NO_ATTEMPTS = Attempts()


@dataclass(frozen=True)
class Running:
    """A stage that runs now, and what it takes of the cluster."""

    kind: StageKind
    layout: Layout = field(default_factory=Layout)
    begun: bool = True  # False: the cluster has not placed it yet


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
    backing_off: Mapping[str, str] = field(default_factory=dict)  # for how long, and after what
    capacity: Capacity = field(default_factory=Capacity)
    largest_capacity: Capacity | None = None  # that it was or can become; default: capacity
    potential: Capacity | None = None  # the most that it can become by itself; default: capacity
    max_parallel: int | None = None  # stages at once, however much room there is
    measure_alone: bool = True  # whether a measurement must have the machine for itself
    quiet_only: bool = False  # whether it also waits for a node on which no other job computes


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
    for_room: tuple[Layout, ...] = ()  # of which one needs a larger cluster; (): no room helps


Decision = Start | GiveUp | Wait


def distinct_needs(needed: Iterable[StageSpec]) -> tuple[StageSpec, ...]:
    """Return every needed stage once, a ranking as deep as the deepest of its cells needs it."""
    distinct: dict[str, StageSpec] = {}
    for spec in needed:
        known = distinct.get(spec.key, spec)
        distinct[spec.key] = replace(spec, depth=known.depth) if known.depth > spec.depth else spec
    return tuple(distinct.values())


def decide(facts: Facts, *, max_attempts: int) -> tuple[Decision, ...]:
    """Return one decision per needed stage that is not running, in order of priority.

    It takes as long as there are stages and different layouts: equal ones are placed alike.
    """
    turn = _Turn(facts, max_attempts)
    order = {kind: place for place, kind in enumerate(PRIORITY)}
    needs = (need for need in facts.needs if need.key not in facts.running)
    return tuple(map(turn.decision, sorted(needs, key=lambda need: order[need.kind])))


class _Turn:
    """Decides about one stage after another, beside those that run or were started before."""

    def __init__(self, facts: Facts, max_attempts: int) -> None:
        self._facts, self._max_attempts = facts, max_attempts
        self._admission = _Backfill(facts)
        at_work = (stage.kind for stage in facts.running.values() if not _queues(stage, facts))
        self._at_work = Counter(at_work)
        # By the layouts that a stage may have. Room only becomes less within a turn.
        self._too_large: dict[tuple[Layout, ...], str] = {}
        self._refused: dict[tuple[Layout, ...], str] = {}

    def decision(self, spec: StageSpec) -> Decision:
        """Return what becomes of one need.

        Admission comes last, for it takes room: what is given up or held back for another reason
        neither takes room nor has a reservation.
        """
        hopeless = self._hopeless(spec)
        if hopeless:
            return GiveUp(spec, hopeless)
        held_back = self._held_back(spec)
        if held_back:
            return Wait(spec, held_back)
        layouts = self._layouts(spec)
        admitted = self._refused.get(layouts) or self._admission.admit(layouts)
        if isinstance(admitted, str):
            self._refused[layouts] = admitted
            return Wait(spec, admitted, for_room=layouts)
        self._at_work[spec.kind] += 1
        return Start(spec, admitted)

    def _layouts(self, spec: StageSpec) -> tuple[Layout, ...]:
        """Return the layouts that a stage may have, the best first."""
        best = self._facts.layouts.get(spec.key, _ONE_CPU)
        return best, *self._facts.alternatives.get(spec.key, ())

    def _hopeless(self, spec: StageSpec) -> str:
        """Return why no attempt is worth while; "" where one is."""
        attempts = self._facts.attempts.get(spec.key, _NO_ATTEMPTS)
        if attempts.failed >= self._max_attempts or not attempts.retryable:
            return attempts.message
        if spec.key in self._facts.refused:
            return self._facts.refused[spec.key]
        layouts = self._layouts(spec)
        if layouts not in self._too_large:
            self._too_large[layouts] = _never_fits(self._facts, layouts)
        return self._too_large[layouts]

    def _held_back(self, spec: StageSpec) -> str:
        """Return why the stage waits for others, whatever room there is; "" where it need not."""
        if spec.key in self._facts.claimed_elsewhere:
            return f"{self._facts.claimed_elsewhere[spec.key]} works on it"
        if spec.key in self._facts.backing_off:
            return self._facts.backing_off[spec.key]
        if not self._facts.measure_alone:
            return ""
        if self._at_work[StageKind.MEASURE]:
            return "a measurement has the machine for itself"
        if spec.kind is StageKind.MEASURE and self._at_work.total():
            return "waits for a quiet machine"
        quiet = not self._facts.quiet_only or has_quiet_node(self._facts.capacity)
        if spec.kind is StageKind.MEASURE and not quiet:
            return f"waits for a quiet machine; {describe_others(self._facts.capacity, _ONE_CPU)}"
        return ""


def _queues(stage: Running, facts: Facts) -> bool:
    """Whether it is a measurement that waits for other jobs: it does not hold up ours meanwhile."""
    shared = facts.capacity.whole is not None
    return stage.kind is StageKind.MEASURE and not stage.begun and shared


def _never_fits(facts: Facts, layouts: Sequence[Layout]) -> str:
    """Return why none of the layouts can ever be placed; "" where one can."""
    largest = facts.largest_capacity or facts.capacity
    if any(fits(facts.capacity, layout) or fits(largest, layout) for layout in layouts):
        return ""
    whole = "the whole cluster has"
    if largest != facts.capacity.in_all:
        whole = "the largest that the cluster can become has"
    return f"needs {describe_needs(layouts[0])}; {whole} {describe_capacity(largest)}"


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
        self._free = Packing(facts.capacity, self._running)
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
