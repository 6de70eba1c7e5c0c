"""``decide`` driving a grid to its end with a simulated clock: nothing is computed, nothing waits.

It takes each attempt to begin at once where there is room on the nodes, as Ray does, and what does
not find room there, for ranks lie scattered, to wait in Ray. Chains are handed over in one place.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heappop, heappush
from itertools import count, takewhile

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.chains.rule import Candidate, Chain, chain_of, may_lead
from orchestrator.scheduler.policy import Facts, Running, Start, decide
from orchestrator.scheduler.simulation.cluster import NodeChange, SimulatedCluster
from orchestrator.scheduler.simulation.grid import SimulatedGrid
from orchestrator.stages.stage_specs import StageKind, StageSpec


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
    nodes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rules:
    """How a simulation goes. ``informed``: whether the policy is told of expected seconds.

    ``step_s``: what ends within it is seen at its end, as a driver's step takes a while.
    """

    informed: bool = True
    step_s: float = 1.0
    chains: bool = True
    measure_alone: bool = False
    faults: Faults = field(default_factory=Faults)
    changes: Sequence[NodeChange] = ()  # of the cluster
    potential: Capacity | None = None  # what it can become; default: what is there


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
        self._alternatives: dict[str, tuple[Layout, ...]] = {}
        self._seconds: dict[str, float] = {}  # expected
        for change in rules.changes:
            self._at(change.at_s, partial(self._change, change))

    def run(self) -> Outcome:
        """Return how the grid went; AssertionError where it comes to a halt."""
        while self._grid.needs:
            self._decide()
            assert self._events, f"nothing runs, and {len(self._grid.needs)} stages wait"
            self._now = self._events[0][0] + self._rules.step_s
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
            alternatives=self._alternatives,
            running={each.members[0].key: self._as_fact(each) for each in self._running.values()},
            capacity=self._cluster.capacity,
            largest_capacity=self._rules.potential,
            potential=self._rules.potential,
            measure_alone=self._rules.measure_alone,
            seconds=self._seconds if informed else {},
            after=self._grid.after if informed else {},
        )

    def _as_fact(self, attempt: _Attempt) -> Running:
        left_s = max(0.0, attempt.ends_s - self._now) if self._rules.informed else None
        begun = attempt.begin_s is not None
        return Running(attempt.members[0].kind, attempt.layout, begun, left_s)

    def _look_at(self, spec: StageSpec) -> None:
        """Choose a stage's layout, and see how long it is expected to take.

        That of a stage which others may follow is the room of all; while there is none, its own.
        """
        own, room = self._grid.costs.layouts(spec)[0], self._chain(spec).room
        self._layouts[spec.key] = room
        self._alternatives[spec.key] = () if room == own else (own,)
        self._seconds[spec.key] = self._grid.expected_s(spec, room)

    def _start(self, spec: StageSpec, layout: Layout) -> None:
        members = [spec, *(each.spec for each in self._chain(spec, layout).followers)]
        attempt = _Attempt(f"{spec.key} {next(self._number)}", layout, members)
        self._running[attempt.name] = attempt
        self._held.update(member.key for member in members)
        if not self._begin(attempt):
            self._unplaced += 1

    def _chain(self, spec: StageSpec, room: Layout | None = None) -> Chain:
        """Return what follows a stage in its place: what nobody has, and wastes little of it."""
        own = self._grid.costs.layouts(spec)[0]
        followers: Iterable[StageSpec] = ()
        if self._rules.chains and may_lead(spec, own):
            followers = takewhile(self._may_follow, self._grid.followers(spec))
        candidates = [Candidate(each, self._grid.costs.layouts(each)) for each in followers]
        return chain_of(spec, own, candidates, self._cluster.capacity, room)

    def _may_follow(self, spec: StageSpec) -> bool:
        alone = spec.kind is StageKind.MEASURE and self._rules.measure_alone
        return not alone and spec.key not in self._held

    def _begin(self, attempt: _Attempt) -> bool:
        """Begin an attempt if there is room for it on the nodes; return whether there was."""
        expected = (self._grid.expected_s(each, attempt.layout) for each in attempt.members)
        attempt.ends_s = self._now + sum(expected)
        if not self._cluster.place(attempt.name, self._room(attempt)):
            return False
        attempt.begin_s = at_s = self._now
        attempt.nodes = self._cluster.nodes_of(attempt.name)
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

    def _room(self, attempt: _Attempt) -> Layout:
        """Return what an attempt takes: of a measurement on CPUs, the whole of a largest node."""
        measures = attempt.members[0].kind is StageKind.MEASURE
        if not measures or not self._rules.measure_alone:
            return attempt.layout
        most = max(node.cpus for node in self._cluster.capacity.machines)
        return replace(attempt.layout, cpus=most)

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
            kind, begin_s = attempt.members[0].kind, attempt.begin_s
            self._bars.append(Bar(kind, begin_s, at_s, attempt.layout, attempt.nodes, whole))

    def _change(self, change: NodeChange) -> None:
        """Let a node come or go; the stages on it end, and are started again."""
        for name in self._cluster.change(change):
            self._end(name, change.at_s)

    def _place_waiting(self) -> None:
        for attempt in self._running.values():
            if attempt.begin_s is None:
                self._begin(attempt)
