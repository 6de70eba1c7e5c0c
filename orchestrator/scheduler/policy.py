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
from orchestrator.scheduler.order import Expected, order
from orchestrator.scheduler.placement.backfill import Backfill
from orchestrator.scheduler.placement.reservation import NOT_KNOWN
from orchestrator.scheduler.placement.waiting import describe_others, has_quiet_node, most_cpus
from orchestrator.scheduler.retries import Attempts
from orchestrator.stages.stage_specs import StageKind, StageSpec

_ONE_CPU = Layout()
_NO_ATTEMPTS = Attempts()
_NO_QUIET_NODE = "waits for a quiet node"


@dataclass(frozen=True)
class Running:
    """A stage that runs now, and what it takes of the cluster."""

    kind: StageKind
    layout: Layout = field(default_factory=Layout)
    begun: bool = True  # False: the cluster has not placed it yet
    # Expected; None: not known. It is no news: no decision is due because time has passed.
    ends_in_s: float | None = field(default=None, compare=False)


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
    seconds: Mapping[str, float] = field(default_factory=dict)  # expected, of the stage's own
    after: Mapping[str, float] = field(default_factory=dict)  # of the longest path from its start


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
    needs = [need for need in facts.needs if need.key not in facts.running]
    running = [
        (stage.layout, stage.ends_in_s)
        for stage in facts.running.values()
        if stage.ends_in_s is not None
    ]
    expected = Expected(facts.seconds, facts.after, running)
    ordered = order(needs, turn.layout, facts.capacity, expected)
    if facts.measure_alone:  # what is left to them, when all others have their places, is quiet
        ordered.sort(key=lambda need: need.kind is StageKind.MEASURE)
    return tuple(map(turn.decision, ordered))


class _Turn:
    """Decides about one stage after another, beside those that run or were started before."""

    def __init__(self, facts: Facts, max_attempts: int) -> None:
        self._facts, self._max_attempts = facts, max_attempts
        # Whether a measurement on CPUs has a node for itself, and not the whole machine. One that
        # has found no node yet holds up nobody: stages lie scattered, as Ray has put them.
        self._apart = facts.measure_alone and len(facts.capacity.machines) > 1
        running = list(facts.running.values())
        queued = [stage for stage in running if self._apart and _is_queued(stage)]
        self._queued = len(queued)
        self._admission = Backfill(
            facts.capacity,
            self._taken(stage for stage in running if stage not in queued),
            facts.potential,
            None if facts.max_parallel is None else facts.max_parallel - self._queued,
        )
        at_work = (stage.kind for stage in facts.running.values() if not _queues(stage, facts))
        self._at_work = Counter(at_work)
        # The layouts that stages may have, equal ones once: also by ids, for hashing them is slow.
        self._choices: dict[tuple[Layout, ...], tuple[Layout, ...]] = {}
        self._by_ids: dict[tuple[int, int], tuple[Layout, ...]] = {}
        # By the ids of these. Room only becomes less within a turn.
        self._too_large: dict[int, str] = {}
        self._refused: dict[tuple[int, bool, bool], str] = {}

    def decision(self, spec: StageSpec) -> Decision:
        """Return what becomes of one need.

        Admission comes last, for it takes room: what is given up or held back for another reason
        neither takes room nor has a reservation.
        """
        layouts = self._layouts(spec)
        hopeless = self._hopeless(spec, layouts)
        if hopeless:
            return GiveUp(spec, hopeless)
        held_back = self._held_back(spec)
        if held_back:
            return Wait(spec, held_back)
        seconds = self._held_s(spec, layouts[0])
        alike = id(layouts), *self._admission.like(seconds)
        if self._apart and spec.kind is StageKind.MEASURE:
            room, node = self._admission, self._whole_node(layouts[0])
            quiet = not room.short and room.spare(node)
            return Start(spec, layouts[0]) if quiet else Wait(spec, _NO_QUIET_NODE)
        admitted = self._refused.get(alike) or self._admission.admit(layouts, seconds)
        if isinstance(admitted, str):
            self._refused[alike] = admitted
            return Wait(spec, admitted, for_room=layouts)
        self._at_work[spec.kind] += 1
        return Start(spec, admitted)

    def _held_s(self, spec: StageSpec, layout: Layout) -> float:
        """Return for how long a stage holds its room, as far as is expected.

        What follows a training of one rank, or a deletion, may be handed over in its place.
        """
        hands_over = spec.kind in (StageKind.TRANSFER, StageKind.PRUNE) and layout.ranks == 1
        expected = self._facts.after if hands_over else self._facts.seconds
        return expected.get(spec.key, NOT_KNOWN)

    def layout(self, spec: StageSpec) -> Layout:
        """Return the best layout of a stage."""
        return self._facts.layouts.get(spec.key, _ONE_CPU)

    def _layouts(self, spec: StageSpec) -> tuple[Layout, ...]:
        """Return the layouts that a stage may have, the best first; the same ones as one object."""
        best, others = self.layout(spec), self._facts.alternatives.get(spec.key, ())
        found = self._by_ids.get((id(best), id(others)))
        if found is None:
            layouts = best, *others
            found = self._choices.setdefault(layouts, layouts)
            self._by_ids[id(best), id(others)] = found
        return found

    def _taken(self, running: Iterable[Running]) -> list[tuple[Layout, float]]:
        """Return what running stages take, and in which time they end; nodes for themselves first.

        For others lie beside these.
        """
        apart: list[tuple[Layout, float]] = []
        beside: list[tuple[Layout, float]] = []
        for stage in running:
            if self._apart and stage.kind is StageKind.MEASURE:
                apart.append((self._whole_node(stage.layout), _ends_in_s(stage)))
            else:
                beside.append((stage.layout, _ends_in_s(stage)))
        return apart + beside

    def _whole_node(self, layout: Layout) -> Layout:
        """Return what a measurement takes that has a node for itself."""
        cpus = most_cpus(self._facts.capacity, quiet_only=self._facts.quiet_only)
        return replace(layout, cpus=cpus)

    def _hopeless(self, spec: StageSpec, layouts: tuple[Layout, ...]) -> str:
        """Return why no attempt is worth while; "" where one is."""
        attempts = self._facts.attempts.get(spec.key, _NO_ATTEMPTS)
        if attempts.failed >= self._max_attempts or not attempts.retryable:
            return attempts.message
        if spec.key in self._facts.refused:
            return self._facts.refused[spec.key]
        if id(layouts) not in self._too_large:
            self._too_large[id(layouts)] = _never_fits(self._facts, layouts)
        return self._too_large[id(layouts)]

    def _held_back(self, spec: StageSpec) -> str:
        """Return why the stage waits for others, whatever room there is; "" where it need not."""
        if spec.key in self._facts.claimed_elsewhere:
            return f"{self._facts.claimed_elsewhere[spec.key]} works on it"
        if spec.key in self._facts.backing_off:
            return self._facts.backing_off[spec.key]
        if not self._facts.measure_alone:
            return ""
        if self._apart and spec.kind is StageKind.MEASURE and self._queued:
            return _NO_QUIET_NODE
        if not self._apart and self._at_work[StageKind.MEASURE]:
            return "a measurement has the machine for itself"
        if not self._apart and spec.kind is StageKind.MEASURE and self._at_work.total():
            return "waits for a quiet machine"
        quiet = not self._facts.quiet_only or has_quiet_node(self._facts.capacity)
        if spec.kind is StageKind.MEASURE and not quiet:
            return f"waits for a quiet machine; {describe_others(self._facts.capacity, _ONE_CPU)}"
        return ""


def _ends_in_s(stage: Running) -> float:
    return NOT_KNOWN if stage.ends_in_s is None else stage.ends_in_s


def _is_queued(stage: Running) -> bool:
    return stage.kind is StageKind.MEASURE and not stage.begun


def _queues(stage: Running, facts: Facts) -> bool:
    """Whether it is a measurement that waits for other jobs: it does not hold up ours meanwhile."""
    shared = facts.capacity.whole is not None
    return _is_queued(stage) and shared


def _never_fits(facts: Facts, layouts: Sequence[Layout]) -> str:
    """Return why none of the layouts can ever be placed; "" where one can."""
    largest = facts.largest_capacity or facts.capacity
    if any(fits(facts.capacity, layout) or fits(largest, layout) for layout in layouts):
        return ""
    whole = "the whole cluster has"
    if largest != facts.capacity.in_all:
        whole = "the largest that the cluster can become has"
    return f"needs {describe_needs(layouts[0])}; {whole} {describe_capacity(largest)}"
