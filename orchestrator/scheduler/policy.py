"""What to start, hold back or give up, decided from frozen facts. Pure: no clock, log, counter or cluster inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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

# Rankings hold up the most cells, so they go first; then whatever finishes a cell soonest. Measuring comes last: on CPU it
# wants the machine for itself.
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
    kind: StageKind
    layout: Layout = field(default_factory=Layout)


@dataclass(frozen=True)
class Facts:
    """``needs``: distinct stages that some cell needs now. ``claimed_elsewhere``: key -> who else works on it.

    ``layouts``: of the needs; default: one rank of one CPU. ``refused``: key -> why it has none. ``running``: in order of
    start. ``most``: the most that the cluster was seen to have. ``max_parallel``: where it is given, it counts, not capacity.
    """

    needs: Sequence[StageSpec]
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    running: Mapping[str, Running] = field(default_factory=dict)
    attempts: Mapping[str, Attempts] = field(default_factory=dict)
    claimed_elsewhere: Mapping[str, str] = field(default_factory=dict)
    capacity: Capacity = field(default_factory=Capacity)
    most: Capacity | None = None
    max_parallel: int | None = None
    measure_alone: bool = True


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


Decision = Start | GiveUp | Wait


def decide(facts: Facts, *, max_attempts: int) -> tuple[Decision, ...]:
    """One decision a needed stage that is not running, in order of priority."""
    space: _Admission = _Slots(facts) if facts.max_parallel else _Backfill(facts)
    decisions: list[Decision] = []
    alone = facts.measure_alone and any(
        stage.kind is StageKind.MEASURE for stage in facts.running.values()
    )
    started = False
    for spec in sorted(facts.needs, key=lambda need: PRIORITY.index(need.kind)):
        if spec.key in facts.running:
            continue
        layout = facts.layouts.get(spec.key, Layout())
        if reason := _hopeless(spec, facts, max_attempts):
            decisions.append(GiveUp(spec, reason))
        elif spec.key in facts.claimed_elsewhere:
            decisions.append(Wait(spec, f"{facts.claimed_elsewhere[spec.key]} works on it"))
        elif alone:
            decisions.append(Wait(spec, "a measurement has the machine for itself"))
        elif spec.kind is StageKind.MEASURE and facts.measure_alone and (facts.running or started):
            decisions.append(Wait(spec, "waits for a quiet machine"))
        elif reason := space.take(layout):
            decisions.append(Wait(spec, reason))
        else:
            decisions.append(Start(spec, layout))
            started = True
            alone = facts.measure_alone and spec.kind is StageKind.MEASURE
    return tuple(decisions)


def _hopeless(spec: StageSpec, facts: Facts, max_attempts: int) -> str:
    """Why no attempt is worth while, or nothing."""
    attempts = facts.attempts.get(spec.key, Attempts())
    if attempts.failed >= max_attempts or not attempts.retryable:
        return attempts.message
    if spec.key in facts.refused:
        return facts.refused[spec.key]
    layout, most = facts.layouts.get(spec.key, Layout()), facts.most or facts.capacity
    if facts.max_parallel or fits(most, layout):
        return ""
    return f"needs {describe_needs(layout)}; the whole cluster has {describe_capacity(most)}"


class _Slots:
    """A number of stages at once: nodes come for those that the cluster lets wait."""

    def __init__(self, facts: Facts) -> None:
        self._free = (facts.max_parallel or 0) - len(facts.running)

    def take(self, layout: Layout) -> str:
        """Take what the layout needs, or say what it waits for."""
        self._free -= 1
        return "" if self._free >= 0 else "waits for a free slot"


class _Backfill:
    """What the cluster has, shared out so that a stage that has to wait for room is sure to get it.

    The first that does not fit now has a reservation: the room that there will be when enough of those running have ended,
    the earliest started first. Behind it may start what takes nothing of that room: small stages then use what the big one
    leaves over, and cannot keep it waiting for longer than those that ran before it.
    """

    def __init__(self, facts: Facts) -> None:
        self._capacity = facts.capacity
        self._running = [stage.layout for stage in facts.running.values()]
        self._now = FreeCapacity.of(facts.capacity, self._running)
        self._later: FreeCapacity | None = None  # beside the reservation; None: nobody has one

    def take(self, layout: Layout) -> str:
        """Take what the layout needs, or say what it waits for."""
        if not fits(self._capacity, layout):
            return f"needs {describe_needs(layout)}, and waits for nodes to come back: there are {describe_capacity(self._capacity)}"
        now = self._now.without(layout)
        later = self._later and self._later.without(layout)
        if now is None and self._later is None:
            self._later = self._beside(layout)
        if now is None:
            return f"waits for {describe_needs(layout)}"
        if self._later is not None and later is None:
            return "waits behind a larger stage"
        self._now, self._later = now, later
        self._running.append(layout)
        return ""

    def _beside(self, layout: Layout) -> FreeCapacity:
        """What is left beside the layout once it fits, the earliest of those running having ended."""
        for first in range(len(self._running) + 1):
            room = FreeCapacity.of(self._capacity, self._running[first:]).without(layout)
            if room is not None:
                return room
        raise AssertionError("it fits an empty cluster")


_Admission = _Slots | _Backfill
