"""Look, decide, act: a ``step`` is a look at the store, a pure decision, and its execution.

Nothing that matters lives here: a new controller on the same grid and store goes on where a killed
one stopped.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from orchestrator.execution.launcher import Finished, Launcher
from orchestrator.execution.run_stage import StageTask
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.chooser import LayoutChooser
from orchestrator.layouts.estimate import DoesNotFit
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.growth import NodeDemand
from orchestrator.scheduler.policy import Facts, GiveUp, Start, Wait, decide, distinct_needs
from orchestrator.scheduler.retries import as_known
from orchestrator.scheduler.stage_store import (
    AlreadySatisfied,
    Claimed,
    ClaimedElsewhere,
    ClaimFailed,
    ClaimOutcome,
    StageStore,
)
from orchestrator.scheduler.state import Attempt, SchedulerState
from orchestrator.stages.next_stages import chosen_layers, next_stages
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec, cell_stages
from orchestrator.store.claims import Ticket
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from orchestrator.views.build import build_view
from orchestrator.views.grid_view import GridView, Status, concluded, killed


class Controller:
    """Drives one grid to its end on one launcher."""

    def __init__(
        self,
        resolved: Resolved,
        store: Store,
        launcher: Launcher,
        clock: Callable[[], float] = time.monotonic,
        results: StoreResults | None = None,
    ) -> None:
        """``clock`` gives seconds; ``results`` is the memory of the store (default: a new one)."""
        self._resolved = resolved
        self._resources = resolved.grid.resources
        self._results = StoreResults(store) if results is None else results
        keep_weights = resolved.grid.storage.keep_transfer_weights
        self._stages = StageStore(store, self._results, keep_transfer_weights=keep_weights)
        self._launcher = launcher
        self._clock = clock
        self._layouts = LayoutChooser(resolved, store, clock)
        self._state = SchedulerState()
        self._demand = NodeDemand(launcher, self._resources)
        self._limit_s = self._resources.timeout_s or float("inf")  # of one attempt's work
        # A measurement may wait so long for its device; nobody sees when it has it.
        self._device_wait_s = min(self._resources.measure_wait_s, self._limit_s)
        self._stopped = ""

    def step(self, wait_s: float = 0.0) -> GridView:
        """Collect what ended, start what can start, and return the grid as it then stands.

        Waits up to ``wait_s`` seconds for the first stage to end.
        """
        for finished in self._launcher.poll(wait_s):
            self._collect(finished)
        self._watch()
        while self._act():
            pass
        return self.view()

    def view(self) -> GridView:
        """Return the grid as it stands. The unfinished cells of a stopped grid are KILLED."""
        view = build_view(self._resolved, self._results, self._state.activity())
        if not self._stopped:
            return concluded(view)
        # The grid itself is KILLED even where other drivers have done the rest.
        return replace(killed(view, self._stopped), status=Status.KILLED, reason=self._stopped)

    def stop(self, reason: str) -> None:
        """Cancel what runs and release its claims; ``reason`` goes to all that is not done."""
        self._launcher.stop()
        for key in self._state.running:
            self._stages.holdings.release(key)
        self._state.running = {}
        self._stopped = reason
        self.close()

    def close(self) -> None:
        """Say goodbye to other drivers. Nothing can be started afterwards."""
        self._stages.holdings.close()

    def tidy(self) -> None:
        """Drop stage two's weights of all checkpoints that are there.

        A driver may have been killed before it came to that.
        """
        study = self._resolved.study
        for cell in self._resolved.cells:
            layers = chosen_layers(cell, study, self._results)
            for spec in cell_stages(cell, study, layers) if layers else ():
                if spec.kind is StageKind.PRUNE and self._results.done(spec.key):
                    self._stages.drop_transfer_weights(spec)

    def _collect(self, finished: Finished) -> None:
        """Take up what a stage's end means, and release its claim."""
        attempt = self._state.running.pop(finished.key)
        if finished.failure is None:
            self._stages.holdings.release(finished.key)  # and its result is in its place
            failure = self._stages.missing_result(attempt.spec)
        else:
            standing = self._stages.holdings.standing(finished.key)
            limit_s = self._limit_s if attempt.timed_out else None
            failure = as_known(finished.failure, standing, limit_s, time.time())
        if failure is not None:
            self._handle_failure(attempt, failure)
        self._stages.holdings.release(finished.key)
        self._stages.forget(finished.key)
        if failure is None:
            self._stages.drop_transfer_weights(attempt.spec)

    def _handle_failure(self, attempt: Attempt, failure: Failure) -> None:
        """Record a failure, and make ready for what follows from it."""
        spec = attempt.spec
        layout = failure.layout or attempt.layout.to_json()
        self._stages.record_failure(spec.key, replace(failure, layout=layout))
        climbed = failure.kind is FailureKind.OUT_OF_MEMORY and self._climb(attempt)
        progressed = self._stages.progress(spec.key) > attempt.progress
        restarts = self._state.count_failure(spec, failure, progressed=progressed, climbed=climbed)
        if restarts:
            self._stages.drop_snapshots(spec.key)

    def _climb(self, attempt: Attempt) -> bool:
        """Whether there is another layout to try, which the next attempt then gets."""
        capacity = self._capacity()
        largest = self._state.largest_capacity
        return self._layouts.climb(attempt.spec, attempt.layout, capacity, largest)

    def _watch(self) -> None:
        """Cancel stages that compute longer than they may, and those that others took over."""
        if self._resources.timeout_s is not None:
            self._time_out(self._clock())
        for key in self._stages.holdings.lost():
            if key in self._state.running:
                self._launcher.cancel(key)
        self._stages.holdings.tend()

    def _time_out(self, now: float) -> None:
        """Cancel stages that compute longer than they may. Until they begin, they only wait."""
        for key, attempt in list(self._state.running.items()):
            if attempt.began is None and self._stages.has_begun(key, attempt.name):
                self._state.see_begun(key, now)
        for key in self._state.time_out(now, self._limit_s, self._device_wait_s):
            self._launcher.cancel(key)

    def _act(self) -> bool:
        """Decide and act once. Return whether to decide again.

        That is so where a stage turned out to be another driver's: its room is free for others.
        """
        self._state.waits = {}
        again = False
        facts = self._facts()
        decisions = decide(facts, max_attempts=self._resources.max_attempts)
        self._demand.follow(facts, decisions)
        for decision in decisions:
            match decision:
                case Start(spec, layout):
                    outcome = self._start(spec, layout)
                    again = again or isinstance(outcome, ClaimedElsewhere)
                case GiveUp(spec, reason):
                    self._state.given_up[spec.key] = reason
                case Wait(spec, reason):
                    self._state.waits[spec.key] = reason
        return again

    def _facts(self) -> Facts:
        """Return what is decided on, as it is now."""
        needs, capacity = self._needs(), self._capacity()
        largest = self._state.largest_capacity
        chosen = {spec.key: self._layouts.choose(spec, capacity, largest) for spec in needs}
        unfit = {key: each.reason for key, each in chosen.items() if isinstance(each, DoesNotFit)}
        unreadable = {key: why for key in chosen if (why := self._results.unreadable(key))}
        return Facts(
            needs=needs,
            layouts={key: each for key, each in chosen.items() if isinstance(each, Layout)},
            alternatives=self._layouts.alternatives(needs, capacity, largest),
            refused=unfit | unreadable,
            running=self._state.running_facts(),
            attempts=self._state.attempts,
            claimed_elsewhere=self._stages.holdings.elsewhere()
            | self._state.claimed_elsewhere(self._clock()),
            capacity=capacity,
            largest_capacity=largest,
            potential=self._demand.potential,
            max_parallel=self._resources.max_parallel,
            measure_alone=self._launcher.measures_alone,
        )

    def _needs(self) -> tuple[StageSpec, ...]:
        """Return the distinct stages that come next, but for those that were given up."""
        needed = next_stages(self._resolved, self._results)
        return distinct_needs(spec for spec in needed if spec.key not in self._state.given_up)

    def _capacity(self) -> Capacity:
        """Return what the cluster has now, within the grid's limits on memory."""
        capacity = self._demand.look()
        self._state.see_capacity(capacity)
        self._state.see_capacity(self._demand.potential)
        return capacity

    def _start(self, spec: StageSpec, layout: Layout) -> ClaimOutcome:
        """Start a stage if it can be claimed; return what came of the claim.

        A store that cannot be written is a failure of the attempt, not of the driver.
        """
        outcome = self._stages.claim(spec)
        match outcome:
            case Claimed(progress, ticket):
                task = self._task(spec, layout, ticket)
                attempt = Attempt(spec, layout, self._clock(), progress, task.attempt)
                self._state.running[spec.key] = attempt
                self._launcher.start(task)
            case ClaimedElsewhere(holder):
                self._state.see_claim(spec.key, holder, self._clock())
            case ClaimFailed(failure):
                self._state.count_failure(spec, failure)
            case AlreadySatisfied():
                pass  # the next look at the store sees it
        return outcome

    def _task(self, spec: StageSpec, layout: Layout, ticket: Ticket) -> StageTask:
        """Return all that the process of a new attempt needs to know."""
        return StageTask(
            spec,
            self._stages.uri,
            layout,
            attempt=ticket.attempt,
            claim=ticket.number,
            lr_scale=self._state.attempts_at(spec.key).lr_scale,
            snapshot_every_s=self._resources.snapshot_every_s,
            snapshot_every_steps=self._resources.snapshot_every_steps,
            hang_timeout_s=self._resources.hang_timeout_s,
            device_wait_s=self._device_wait_s,
        )
