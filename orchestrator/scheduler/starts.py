"""From the decision to start stages to their processes: what follows in each, claims, tasks.

Decides nothing about which stages start: that is the policy's.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.execution.launcher import Launcher
from orchestrator.execution.stage_task import StageTask
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.chooser import LayoutChooser
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.attempt import Attempt
from orchestrator.scheduler.chains.rule import (
    LEADING,
    Candidate,
    Chain,
    Follower,
    chain_of,
    may_follow,
    may_lead,
    own_layout,
)
from orchestrator.scheduler.expected.paths import Expected
from orchestrator.scheduler.lookout import Lookout
from orchestrator.scheduler.policy import Decision, Facts, Start, decide
from orchestrator.scheduler.retries import Attempts
from orchestrator.scheduler.stage_store import (
    AlreadySatisfied,
    Claimed,
    ClaimedElsewhere,
    ClaimFailed,
    ClaimOutcome,
    StageStore,
    StoreAway,
    raise_if_away,
)
from orchestrator.scheduler.state import SchedulerState
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.claims import Ticket
from orchestrator.views.parts import GridParts

STARTING_S = 5.0  # per step: what cannot be claimed within it comes with the next
_ALONE = Layout()
_Stage = tuple[StageSpec, Layout, Claimed]  # one that was claimed, and its layout when it is alone


@dataclass(frozen=True)
class Starts:
    """Starts the stages of one driver. ``clock`` gives seconds."""

    parts: GridParts
    stages: StageStore
    layouts: LayoutChooser
    state: SchedulerState
    lookout: Lookout
    launcher: Launcher
    resources: Resources
    keep_transfer_weights: bool
    clock: Callable[[], float]

    def expected_s(
        self, needs: Iterable[StageSpec], layouts: Mapping[str, Layout], expected: Expected
    ) -> Mapping[str, float]:
        """Return for how long each of these stages is going to hold its room, by key.

        Of one that others of its cell may follow there, that is all that comes behind it.
        """
        if not self._hands_over:
            return expected.seconds
        led = (
            spec.key
            for spec in needs
            if spec.kind in LEADING and may_lead(spec, layouts.get(spec.key, _ALONE))
        )
        paths = {key: expected.after[key] for key in led if key in expected.after}
        return {**expected.seconds, **paths}

    @property
    def _hands_over(self) -> bool:
        return self.launcher.hands_over and self.resources.hand_over

    def decide(self, facts: Facts) -> tuple[Decision, ...]:
        """Return what the policy decides, with room for the stages that may follow others.

        Where such a room is taken, but not the one that a stage needs alone, it has that.
        """
        most = self.resources.max_attempts
        decisions = decide(facts, max_attempts=most)
        rooms = dict(self._rooms(decisions, facts))
        if not rooms:
            return decisions
        own = {key: _layouts(facts, key) for key in rooms}
        wider = replace(
            facts,
            layouts={**facts.layouts, **rooms},
            alternatives={**facts.alternatives, **own},
        )
        return decide(wider, max_attempts=most)

    def _rooms(self, decisions: Sequence[Decision], facts: Facts) -> Iterator[tuple[str, Layout]]:
        """Yield each stage that would start and the room of its chain, where that is wider."""
        known: dict[object, Chain] = {}
        busy = set(self.state.running)
        for start in decisions:
            if isinstance(start, Start):
                candidates = self._candidates(start, facts, busy)
                alike = start.layout, *((each.spec.kind, each.layouts) for each in candidates)
                if alike not in known:
                    cluster = facts.capacity.in_all
                    known[alike] = chain_of(start.spec, start.layout, candidates, cluster)
                chain = known[alike]
                busy |= {each.spec.key for each in candidates[: len(chain.followers)]}
                if chain.room != start.layout:
                    yield start.spec.key, chain.room

    def _candidates(self, start: Start, facts: Facts, busy: Collection[str]) -> list[Candidate]:
        """Return the stages that may follow one that starts: the next of its cell.

        They end before one that is done, that anybody works on, or that has failed before. A stage
        that has failed of itself is tried again alone.
        """
        failed = facts.attempts.get(start.spec.key, Attempts()).failed
        if failed or not self._hands_over or not may_lead(start.spec, start.layout):
            return []
        candidates: list[Candidate] = []
        for spec in self.parts.following.get(start.spec.key, ()):
            shared = self.parts.is_shared(spec.key)
            joins = may_follow(spec, start.spec, facts.measure_alone, shared)
            if not joins or spec.key in busy or not self._is_free(spec, facts):
                break
            layouts = self._layouts_of(spec, facts)
            if not layouts:
                break
            candidates.append(Candidate(spec, layouts))
        return candidates

    def _layouts_of(self, spec: StageSpec, facts: Facts) -> tuple[Layout, ...]:
        """Return the layouts that a stage may have when it stands alone; none where none fits."""
        largest = facts.largest_capacity or facts.capacity
        chosen = self.layouts.choose_all([spec], facts.capacity.in_all, largest)
        own = chosen.layouts.get(spec.key)
        return (own, *chosen.alternatives.get(spec.key, ())) if own else ()

    def _is_free(self, spec: StageSpec, facts: Facts) -> bool:
        """Whether nobody has done the stage, works on it, or has failed at it."""
        untried = not any(
            spec.key in those
            for those in (facts.attempts, facts.claimed_elsewhere, self.state.given_up)
        )
        return untried and not (
            self.parts.results.done(spec.key) or self.parts.results.unreadable(spec.key)
        )

    def start(self, starts: Sequence[Start], facts: Facts) -> bool:
        """Claim and start these stages and those that follow them, as far as they are to be had.

        Return whether one turned out to be another driver's, or done. Raises OSError where the
        store gives no answer, once what was claimed is started.
        """
        chains = self._chains(starts, facts)
        specs = [
            [start.spec, *(each.spec for each in chain.followers)]
            for start, chain in zip(starts, chains, strict=True)
        ]
        until = self.clock() + STARTING_S
        outcomes = self.stages.claim_all(specs, lambda: self.clock() >= until)
        for start, chain, came in zip(starts, chains, outcomes, strict=False):
            self._take_up(start, _own(start, facts), chain, came)
        refused = any(
            isinstance(first, ClaimedElsewhere | AlreadySatisfied) for first, *_ in outcomes
        )
        if refused:
            self.lookout.look_at_claims()
        raise_if_away(outcome for came in outcomes for outcome in came)
        return refused

    def _chains(self, starts: Sequence[Start], facts: Facts) -> list[Chain]:
        """Return what follows each of these stages in the room that it has; no stage twice."""
        chains = []
        busy = {*self.state.running, *(start.spec.key for start in starts)}
        for start in starts:
            candidates = self._candidates(start, facts, busy)
            own, cluster = _own(start, facts), facts.capacity.in_all
            chain = chain_of(start.spec, own, candidates, cluster, room=start.layout)
            busy |= {each.spec.key for each in chain.followers}
            chains.append(chain)
        return chains

    def _take_up(
        self, start: Start, own: Layout, chain: Chain, outcomes: Sequence[ClaimOutcome]
    ) -> None:
        """Start a stage that was claimed, with those claimed that follow it.

        Where none does it has its own layout, not the room of all. A store that will not be written
        is a failure of the attempt, not of the driver; of one that was to follow, it is nothing.
        """
        members = [Follower(start.spec, own), *chain.followers]
        claimed: list[_Stage] = []
        for member, outcome in zip(members, outcomes, strict=False):
            match outcome:
                case Claimed():
                    claimed.append((member.spec, member.layout, outcome))
                case ClaimedElsewhere(holder):
                    self.lookout.see_claim(member.spec.key, holder)
                case ClaimFailed(failure) if member is members[0]:
                    self.state.count_failure(start.spec, failure, now=self.clock())
                case ClaimFailed() | AlreadySatisfied() | StoreAway():
                    pass  # the next look at the store sees it
        if claimed:
            self._start(claimed, start.layout if len(claimed) > 1 else own)

    def _start(self, claimed: Sequence[_Stage], room: Layout) -> None:
        """Start these stages one after another in one process."""
        tasks = [self._task(spec, room, outcome.ticket) for spec, _, outcome in claimed]
        chain, shared = (claimed[0][0].key, room) if len(claimed) > 1 else ("", None)
        for (spec, layout, outcome), task in zip(claimed, tasks, strict=True):
            self.state.running[spec.key] = Attempt(
                spec,
                layout,
                self.clock(),
                outcome.progress,
                task.attempt,
                chain=chain,
                shared_room=shared,
            )
        # Nothing of what those behind it waited for was a start.
        then = tuple(replace(task, asked=0.0) for task in tasks[1:])
        self.launcher.start(replace(tasks[0], then=then))

    def _task(self, spec: StageSpec, layout: Layout, ticket: Ticket) -> StageTask:
        """Return all that the process of a new attempt needs to know."""
        resources = self.resources
        limit_s = resources.timeout_s or float("inf")
        return StageTask(
            spec,
            self.stages.uri,
            layout,
            attempt=ticket.attempt,
            claim=ticket.number,
            asked=time.time(),
            lr_scale=self.state.attempts_at(spec.key).lr_scale,
            snapshot_every_s=resources.snapshot_every_s,
            snapshot_every_steps=resources.snapshot_every_steps,
            hang_timeout_s=resources.hang_timeout_s,
            device_wait_s=min(resources.measure_wait_s, limit_s),
            keep_weights=self.keep_transfer_weights,
        )


def _layouts(facts: Facts, key: str) -> tuple[Layout, ...]:
    """Return the layouts that a stage may have when it stands alone, the best first."""
    return facts.layouts.get(key, _ALONE), *facts.alternatives.get(key, ())


def _own(start: Start, facts: Facts) -> Layout:
    """Return the layout that a stage which starts would have alone."""
    return own_layout(start.layout, _layouts(facts, start.spec.key))
