"""What the ends of attempts mean: results to be believed, failures to be recorded and answered.

Knows neither the launcher nor what is started next.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum, auto

from orchestrator.execution.launcher import Finished
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.chooser import LayoutChooser
from orchestrator.parallel import at_once
from orchestrator.scheduler.attempt import Attempt
from orchestrator.scheduler.chains.turns import by_process
from orchestrator.scheduler.retries import as_known
from orchestrator.scheduler.stage_store import StageStore
from orchestrator.scheduler.state import SchedulerState
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.claims import Standing
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.patience import passes

DROP_AGAIN_S = 60.0  # before weights that could not be dropped are tried again


class Ended(Enum):
    """How an attempt ended that has not failed.

    NOT_REACHED: the process in which its turn was to come has ended, or somebody has cancelled it:
    it is as good as new.
    """

    DONE = auto()
    NOT_REACHED = auto()


class Endings:
    """Takes up what ended of one driver's stages."""

    def __init__(
        self,
        stages: StageStore,
        state: SchedulerState,
        layouts: LayoutChooser,
        limit_s: float,
        clock: Callable[[], float],
    ) -> None:
        """``limit_s``: of the time that an attempt may compute. ``clock`` gives seconds."""
        self._clock = clock
        self._stages, self._state, self._layouts = stages, state, layouts
        self._limit_s = limit_s
        self._ended: list[Finished] = []  # and not yet taken up
        self._served: dict[str, StageSpec] = {}  # whose inputs may go, by key
        self._drop_at = float("-inf")

    def keep(self, ended: Sequence[Finished]) -> None:
        """Keep these ends until they are taken up: the store may give no answer for a while."""
        self._ended += ended

    def take_up(self, capacity: Callable[[], Capacity]) -> None:
        """Take up what the ends of stages mean, and release their claims.

        Raises OSError where the store gives no answer: the rest is taken up with the next call.
        What the store refuses fails the stage.
        """
        ends = {each.key: (self._state.running[each.key], each) for each in self._ended}
        processes = by_process({key: attempt for key, (attempt, _) in ends.items()})
        told = at_once(self._outcomes, [[ends[key] for key in keys] for keys in processes])
        outcomes = {key: outcome for each in told for key, outcome in each.items()}
        over: list[str] = []
        done: list[StageSpec] = []
        try:
            for key, (attempt, _) in ends.items():
                outcome = outcomes[key]
                if outcome is Ended.DONE:
                    done.append(attempt.spec)
                elif isinstance(outcome, Failure):
                    self._answer(attempt, outcome, capacity)
                over.append(key)
                del self._ended[0], self._state.running[key]
                if outcome is Ended.DONE:
                    self._state.pass_on(attempt, self._clock())
        finally:
            ended = {key: ends[key][0] for key in over}
            at_once(self._stages.holdings.release_all, by_process(ended))
            succeeded = {spec.key: spec for spec in done}  # and were looked at afresh
            for key in over:
                if key not in succeeded:
                    self._stages.forget(key)
            self._served |= succeeded
            self._drop_served()

    def _drop_served(self) -> None:
        """Drop what has served. That it fails holds nothing up: it is tried again after a while."""
        if self._served and self._clock() >= self._drop_at:
            try:
                at_once(self._drop, list(self._served.values()))
            except OSError:
                self._drop_at = self._clock() + DROP_AGAIN_S

    def _drop(self, spec: StageSpec) -> None:
        self._stages.drop_transfer_weights(spec)
        del self._served[spec.key]

    def _answer(self, attempt: Attempt, failure: Failure, capacity: Callable[[], Capacity]) -> None:
        """Answer a failure, or else the one that the store refuses what that takes."""
        try:
            self._handle_failure(attempt, failure, capacity)
        except OSError as error:
            if passes(error):
                raise
            self._state.count_failure(attempt.spec, failure_of(error), now=self._clock())

    def _outcomes(self, ends: Sequence[tuple[Attempt, Finished]]) -> dict[str, Failure | Ended]:
        """Return how attempts in one process ended, in this order, by key."""
        return {finished.key: self._outcome(attempt, finished) for attempt, finished in ends}

    def _outcome(self, attempt: Attempt, finished: Finished) -> Failure | Ended:
        """Return how an attempt ended, as the store tells it.

        Its process may have ended before it could say that it had committed.
        """
        said_done = finished.reached and finished.failure is None
        standing = None if said_done else self._stages.holdings.standing(finished.key)
        if standing is None or standing is Standing.COMMITTED:
            self._stages.holdings.release(finished.key)  # and its result is in its place
            return self._stages.missing_result(attempt.spec) or Ended.DONE
        if finished.failure is None or attempt.unwanted:
            return Ended.NOT_REACHED
        limit_s = self._limit_s if attempt.timed_out else None
        return as_known(finished.failure, standing, limit_s, time.time())

    def _handle_failure(
        self, attempt: Attempt, failure: Failure, capacity: Callable[[], Capacity]
    ) -> None:
        """Record a failure, and make ready for what follows from it.

        It is counted once all that has to be asked of the store is known.
        """
        spec = attempt.spec
        layout = failure.layout or attempt.layout.to_json()
        self._stages.record_failure(spec.key, replace(failure, layout=layout))
        climbed = failure.kind is FailureKind.OUT_OF_MEMORY and self._climb(attempt, capacity())
        progressed = self._stages.progress(spec.key) > attempt.progress
        restarts = self._state.count_failure(
            spec, failure, progressed=progressed, climbed=climbed, now=self._clock()
        )
        if restarts:
            self._stages.drop_snapshots(spec.key)

    def _climb(self, attempt: Attempt, capacity: Capacity) -> bool:
        """Whether there is another layout to try, which the next attempt then gets."""
        largest = self._state.largest_capacity
        return self._layouts.climb(attempt.spec, attempt.layout, capacity.in_all, largest)
