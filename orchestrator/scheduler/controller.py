"""Look, decide, act: a ``step`` is a look at the store, a pure decision, and its execution.

Nothing that matters lives here: a new controller on the same grid and store goes on where a killed
one stopped.
"""

import time
from collections.abc import Callable

from orchestrator.coordination.news import DriverNews
from orchestrator.coordination.wishes import NewWishes, WishKind
from orchestrator.execution.launcher import Launcher
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.chooser import LayoutChooser
from orchestrator.parallel import at_once
from orchestrator.scheduler.chains.turns import by_process
from orchestrator.scheduler.endings import Endings
from orchestrator.scheduler.expected.paths import Expectations
from orchestrator.scheduler.faults.avoidance import is_missed
from orchestrator.scheduler.faults.outage import LastView, StoreOutage
from orchestrator.scheduler.growth import NodeDemand
from orchestrator.scheduler.lookout import LOOK_EVERY_S, Lookout
from orchestrator.scheduler.policy import Facts, GiveUp, Start, Wait
from orchestrator.scheduler.stage_store import StageStore
from orchestrator.scheduler.starts import Starts
from orchestrator.scheduler.state import Needs, SchedulerState
from orchestrator.scheduler.wished.cancelled import cancelled_after, of_no_use, still_needed
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from orchestrator.views.build import CANCELLED, ViewBuilder
from orchestrator.views.grid_view import GridView, concluded, stopped
from orchestrator.views.parts import GridParts

MOST_DECISIONS = 3  # per step: more only where other drivers were faster


class Controller:
    """Drives one grid to its end on one launcher."""

    def __init__(
        self,
        resolved: Resolved,
        store: Store,
        launcher: Launcher,
        clock: Callable[[], float] = time.monotonic,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """``clock`` gives seconds. ``look_every_s``: how often to ask what others have done."""
        self._resolved = resolved
        self._resources = resolved.grid.resources
        self._results = StoreResults(store)
        self._parts = GridParts(resolved, self._results)
        self._views = ViewBuilder(self._parts)
        self._expectations = Expectations(self._parts)
        self._stages = StageStore(
            store,
            self._results,
            keep_transfer_weights=resolved.grid.storage.keep_transfer_weights,
            readers=self._parts.readers,
            grid=resolved.key,
        )
        self._launcher = launcher
        self._clock = clock
        self._lookout = Lookout(self._results, self._stages.holdings.elsewhere, clock, look_every_s)
        self._layouts = LayoutChooser(resolved, store, clock)
        self._state = SchedulerState()
        self._demand = NodeDemand(launcher, self._resources, clock)
        self._needs = Needs()
        self._decided: Facts | None = None  # what was decided on last, where nothing started
        self._limit_s = self._resources.timeout_s or float("inf")  # of one attempt's work
        self._device_wait_s = min(self._resources.measure_wait_s, self._limit_s)  # of a measurement
        self._starts = self._new_starts()
        self._endings = Endings(self._stages, self._state, self._layouts, self._limit_s, clock)
        self._outage = StoreOutage(clock)
        self._last = LastView(resolved.key, resolved.grid.name)
        self._stopped = ""
        self._wishes = NewWishes(store.wishes, resolved.key, self._stages.holdings.owner, clock)
        self.asked_to_stop = ""  # by whom, in words, where somebody wishes that the grid stops
        self._began = time.time()

    def _new_starts(self) -> Starts:
        """Return what starts the stages that are decided to start."""
        return Starts(
            self._parts,
            self._stages,
            self._layouts,
            self._state,
            self._lookout,
            self._launcher,
            self._resources,
            self._resolved.grid.storage.keep_transfer_weights,
            self._clock,
        )

    def step(self, wait_s: float = 0.0) -> GridView:
        """Collect what ended, start what can start, and return the grid as it then stands.

        Waits up to ``wait_s`` seconds for the first stage to end. A store that fails is waited for:
        what runs goes on, what ends is kept, and the view says so.
        """
        self._endings.keep(self._launcher.poll(wait_s))
        self._outage.guard(self._work)
        self._state.see_begun(self._launcher.begun(), self._clock())
        self._stages.holdings.tell(self.news().to_json())
        return self.view()

    def news(self) -> DriverNews:
        """Return what this driver does now, beside what a view shows."""
        activity = self._state.activity()
        working = self._state.working(self._launcher.heard(), self._clock())
        return DriverNews(self._began, working, activity.waits, activity.given_up)

    def _work(self) -> None:
        self._endings.take_up(self._capacity)
        self._watch()
        self._obey()
        self._lookout.look(self._state.running)
        for _ in range(MOST_DECISIONS):
            if not self._act():
                break

    def view(self) -> GridView:
        """Return the grid as it stands, or as it was last seen while the store fails.

        It has no cells where it was never seen. The unfinished cells of a stopped grid are KILLED.
        It is the same object as long as it is equal, and so is every part of it.
        """
        self._outage.guard(self._look)
        view = self._last.with_notices(self._outage.notice, tuple(self._avoided().values()))
        if self._stopped:
            return stopped(view, self._stopped)
        return concluded(view) if view.parts else view

    def _look(self) -> None:
        self._parts.update()
        self._last.see(self._views.view(self._state.activity()))
        self._outage.over()

    def stop(self, reason: str) -> None:
        """Cancel what runs and release its claims; ``reason`` goes to all that is not done."""
        self._stopped = reason
        try:
            self._launcher.stop()
        finally:
            at_once(self._stages.holdings.release_all, by_process(self._state.running))
            self._state.running = {}
            self.close()

    def close(self) -> None:
        """Say goodbye to other drivers. Nothing can be started afterwards."""
        self._stages.holdings.close()

    def tidy(self) -> None:
        """Be seen, and drop stage two's weights of all checkpoints that are there.

        As far as the store answers. A driver may have been killed before it came to that.
        """
        self._outage.guard(self._wishes.begin)
        self._outage.guard(self._stages.holdings.appear)
        self._outage.guard(self._drop_left_weights)

    def _drop_left_weights(self) -> None:
        self._parts.update()
        pruned = {spec.key: spec for spec in self._parts.stages(StageKind.PRUNE)}.values()
        done = [spec for spec in pruned if self._results.done(spec.key)]
        at_once(self._stages.drop_transfer_weights, done)

    def _watch(self) -> None:
        """Cancel stages that compute longer than they may, and those that others took over."""
        for key in self._state.time_out(self._clock(), self._limit_s, self._device_wait_s):
            self._launcher.cancel(key)
        for key in self._stages.holdings.lost():
            if key in self._state.running:
                self._launcher.cancel(key)
        self._stages.holdings.tend()

    def _obey(self) -> None:
        """Do as people wish who look on from elsewhere (orchestrator/coordination/wishes.py)."""
        state = self._state
        for wish in self._wishes.look():
            state.cancelled = cancelled_after(wish, state.cancelled)
            if wish.kind is WishKind.RETRY:
                state.forgive(wish.stages if wish.cells else (*wish.stages, *state.given_up))
            elif not wish.cells:
                self.asked_to_stop = f"{CANCELLED}{wish.by}"
            self._needs, self._decided = Needs(), None
        for key in state.unwanted(of_no_use(self._parts, state.cancelled)):
            self._launcher.cancel(key)

    def _act(self) -> bool:
        """Decide and act once. Return whether to decide again.

        That is so where a stage was another driver's, or done; never on facts equal to the last.
        """
        facts = self._facts()
        if facts == self._decided:
            return False
        self._state.waits = {}
        starts: list[Start] = []
        decisions = self._starts.decide(facts)
        self._demand.follow(facts, decisions)
        for decision in decisions:
            match decision:
                case Start():
                    starts.append(decision)
                case GiveUp(spec, reason):
                    self._state.given_up[spec.key] = reason
                case Wait(spec, reason):
                    self._state.waits[spec.key] = reason
        self._decided = None if starts else facts
        return self._starts.start(starts, facts)

    def _facts(self) -> Facts:
        """Return what is decided on, as it is now."""
        self._parts.update()
        needs = self._needs.of(
            still_needed(self._parts, self._state.cancelled), self._state.given_up
        )
        needs = self._state.undecided(needs)
        capacity, largest = self._capacity(), self._state.largest_capacity
        # Not by what is free at this instant: a layout that is worth waiting for is waited for.
        chosen = self._layouts.choose_all(needs, capacity.in_all, largest)
        if self._avoided() and is_missed(chosen.layouts.values(), capacity.in_all, largest):
            self._state.avoidance.forgive()
            return self._facts()
        unreadable = self._results.unreadable_of(spec.key for spec in needs)
        expected = self._expectations.given(chosen.layouts)
        return Facts(
            needs=needs,
            layouts=chosen.layouts,
            alternatives=chosen.alternatives,
            refused=chosen.refused | unreadable,
            running=self._state.running_facts(self._clock(), expected.seconds, expected.after),
            attempts=dict(self._state.attempts),
            claimed_elsewhere=self._lookout.held,
            backing_off=self._state.backing_off(self._clock()),
            capacity=capacity,
            largest_capacity=largest,
            potential=self._demand.potential,
            max_parallel=self._resources.max_parallel,
            measure_alone=self._launcher.measures_alone,
            quiet_only=self._state.waits_for_quiet(self._clock(), self._resources.measure_wait_s),
            seconds=self._starts.expected_s(needs, chosen.layouts, expected),
            after=expected.after,
        )

    def _capacity(self) -> Capacity:
        """Return what the cluster has for us now, within the grid's memory and share."""
        self._launcher.avoid(self._avoided())
        capacity = self._demand.look()
        self._state.see_capacity(capacity, self._demand.potential)
        return capacity

    def _avoided(self) -> dict[str, str]:
        """Return the nodes that no stage is to be started on, by id, and why."""
        return self._state.avoidance.nodes(self._clock())
