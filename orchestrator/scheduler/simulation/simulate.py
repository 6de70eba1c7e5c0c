"""``decide`` driving a grid to its end with a simulated clock: nothing is computed, nothing waits.

It takes each attempt to begin at once where there is room on the nodes, as Ray does, and what does
not find room there, for ranks lie scattered, to wait in Ray. Chains are handed over in one place.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count

from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.policy import Facts, Running, Start, decide
from orchestrator.scheduler.simulation.cluster import NodeChange, SimulatedCluster
from orchestrator.scheduler.simulation.grid import SimulatedGrid
from orchestrator.stages.stage_specs import StageKind, StageSpec

STEP_S = 1.0  # what ends within it is seen at once: a driver's step takes as long


@dataclass(frozen=True)
class Faults:
    """How often attempts fail. ``share`` of them do, each at a random moment, and are repeated."""

    share: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Bar:
    """A stage on the nodes that it lay on; ``whole``: it did not fail before its end."""

    kind: StageKind
    begin_s: float
    end_s: float
    layout: Layout
    nodes: tuple[int, ...]
    whole: bool


@dataclass(frozen=True)
class Outcome:
    """How long a grid took, and what ran when."""

    makespan_s: float
    bars: Sequence[Bar]
    decisions: int  # how often was decided
    unplaced: int  # attempts that found no room on the nodes when they were submitted


@dataclass
class _Attempt:
    """A stage or a chain of stages in one place. ``begin_s``: of the first of ``members``."""

    name: str
    layout: Layout
    members: list[StageSpec]
    begin_s: float | None = None  # None: it waits in Ray
    ends_s: float = 0.0  # expected


@dataclass(frozen=True)
class Rules:
    """How a simulation goes. ``informed``: whether the policy is told of expected seconds."""

    informed: bool = True
    chains: bool = True
    measure_alone: bool = False
    faults: Faults = field(default_factory=Faults)
    changes: Sequence[NodeChange] = ()  # of the cluster


class Simulation:
    """One grid on one cluster, from its beginning to its end."""

    def __init__(self, grid: SimulatedGrid, cluster: SimulatedCluster, rules: Rules) -> None:
        self._grid, self._cluster, self._rules = grid, cluster, rules
        self._now = 0.0
        self._running: dict[str, _Attempt] = {}  # by name, in order of start
        self._held: set[str] = set()  # keys of their members
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._bars: list[Bar] = []
        self._decisions = self._unplaced = 0
        self._layouts: dict[str, Layout] = {}
        self._seconds: dict[str, float] = {}  # expected, with those of the chain that it heads
        for change in rules.changes:
            self._at(change.at_s, partial(self._change, change))

    def run(self) -> Outcome:
        """Return how the grid went; AssertionError where it comes to a halt."""
        while self._grid.needs:
            self._decide()
            assert self._events, f"nothing runs, and {len(self._grid.needs)} stages wait"
            self._now = self._events[0][0] + STEP_S
            while self._events and self._events[0][0] <= self._now:
                heappop(self._events)[2]()
            self._place_waiting()
        ended = max(bar.end_s for bar in self._bars)
        return Outcome(ended, self._bars, self._decisions, self._unplaced)

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        heappush(self._events, (at_s, next(self._number), act))

    def _decide(self) -> None:
        self._decisions += 1
        for decision in decide(self._facts(), max_attempts=1):
            if isinstance(decision, Start) and decision.spec.key not in self._held:
                self._start(decision.spec, decision.layout)

    def _facts(self) -> Facts:
        needs = [spec for key, spec in self._grid.needs.items() if key not in self._held]
        for spec in needs:
            if spec.key not in self._layouts or spec.kind is StageKind.RANKING:
                self._look_at(spec)
        informed = self._rules.informed
        return Facts(
            needs=needs,
            layouts=self._layouts,
            running={each.members[0].key: self._as_fact(each) for each in self._running.values()},
            capacity=self._cluster.capacity,
            measure_alone=self._rules.measure_alone,
            seconds=self._seconds if informed else {},
            after=self._grid.after if informed else {},
        )

    def _as_fact(self, attempt: _Attempt) -> Running:
        left_s = max(0.0, attempt.ends_s - self._now) if self._rules.informed else None
        begun = attempt.begin_s is not None
        return Running(attempt.members[0].kind, attempt.layout, begun, left_s)

    def _look_at(self, spec: StageSpec) -> None:
        """Choose a stage's layout, and see how long it is expected to hold its room."""
        layout = self._layouts[spec.key] = self._grid.costs.layouts(spec)[0]
        chain = (spec, *self._chained(spec, layout))
        self._seconds[spec.key] = sum(self._grid.expected_s(each, layout) for each in chain)

    def _start(self, spec: StageSpec, layout: Layout) -> None:
        members = [spec, *self._chained(spec, layout)]
        attempt = _Attempt(f"{spec.key} {next(self._number)}", layout, members)
        self._running[attempt.name] = attempt
        self._held.update(member.key for member in members)
        if not self._begin(attempt):
            self._unplaced += 1

    def _chained(self, spec: StageSpec, layout: Layout) -> Iterable[StageSpec]:
        """Yield what follows a training in its place: what nobody has, and needs no more than it.

        A deletion behind a gang is for CPUs, and heads no chain: its scores wait for a gap.
        """
        if not self._rules.chains or layout.ranks > 1 or spec.kind is not StageKind.TRANSFER:
            return
        for follower in self._grid.followers(spec):
            needs = self._grid.costs.layouts(follower)[0]
            alone = follower.kind is StageKind.MEASURE and self._rules.measure_alone
            if alone or follower.key in self._held or needs.ranks > 1 or needs.gpus > layout.gpus:
                return
            yield follower

    def _begin(self, attempt: _Attempt) -> bool:
        """Begin an attempt if there is room for it on the nodes; return whether there was."""
        expected = (self._grid.expected_s(each, attempt.layout) for each in attempt.members)
        attempt.ends_s = self._now + sum(expected)
        if not self._cluster.place(attempt.name, attempt.layout):
            return False
        attempt.begin_s = at_s = self._now
        fails_s = self._fails_at(attempt)
        for spec in list(attempt.members):
            for seconds in self._grid.true_seconds(spec, attempt.layout):
                at_s += seconds
                if fails_s is not None and at_s >= fails_s:
                    self._at(fails_s, partial(self._end, attempt.name, fails_s))
                    return True
                ranking = spec.kind is StageKind.RANKING
                done = self._round if ranking else self._member_done
                self._at(at_s, partial(done, attempt.name, at_s))
        return True

    def _fails_at(self, attempt: _Attempt) -> float | None:
        faults = self._rules.faults
        chance = random.Random(f"{faults.seed} {attempt.name}")
        if chance.random() >= faults.share:
            return None
        seconds = (self._grid.true_seconds(each, attempt.layout) for each in attempt.members)
        return self._now + chance.random() * sum(map(sum, seconds))

    def _round(self, name: str, at_s: float) -> None:
        """Publish a round of a ranking that runs."""
        attempt = self._running.get(name)
        if attempt is not None:
            spec = attempt.members[0]
            self._grid.publish(spec)
            if self._grid.done(spec.key):
                self._end(name, at_s, whole=True)

    def _member_done(self, name: str, at_s: float) -> None:
        """Let the stage be done that an attempt computes; the next of its chain begins."""
        attempt = self._running.get(name)
        if attempt is None:
            return
        spec = attempt.members[0]
        self._grid.finish(spec)
        if len(attempt.members) == 1:
            self._end(name, at_s, whole=True)
            return
        self._draw(attempt, at_s, whole=True)
        self._held.discard(spec.key)
        attempt.members, attempt.begin_s = attempt.members[1:], at_s

    def _end(self, name: str, at_s: float, whole: bool = False) -> None:
        attempt = self._running.pop(name, None)
        if attempt is not None:
            self._draw(attempt, at_s, whole)
            self._cluster.free(name)
            self._held.difference_update(member.key for member in attempt.members)

    def _draw(self, attempt: _Attempt, at_s: float, whole: bool) -> None:
        if attempt.begin_s is not None:
            kind, nodes = attempt.members[0].kind, self._cluster.nodes_of(attempt.name)
            self._bars.append(Bar(kind, attempt.begin_s, at_s, attempt.layout, nodes, whole))

    def _change(self, change: NodeChange) -> None:
        """Let a node come or go; the stages on it end, and are started again."""
        for name in self._cluster.change(change):
            self._end(name, change.at_s)

    def _place_waiting(self) -> None:
        for attempt in self._running.values():
            if attempt.begin_s is None:
                self._begin(attempt)
