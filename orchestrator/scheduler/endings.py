"""What the ends of attempts mean: results to be believed, failures to be recorded and answered.

Knows neither the launcher nor what is started next.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.execution.launcher import Finished
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.chooser import LayoutChooser
from orchestrator.parallel import at_once
from orchestrator.scheduler.stage_store import StageStore
from orchestrator.scheduler.state import Attempt, SchedulerState
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.patience import passes


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

    def keep(self, ended: Sequence[Finished]) -> None:
        """Keep these ends until they are taken up: the store may give no answer for a while."""
        self._ended += ended

    def take_up(self, capacity: Callable[[], Capacity]) -> None:
        """Take up what the ends of stages mean, and release their claims.

        Raises OSError where the store gives no answer: the rest is taken up with the next call.
        What the store refuses fails the stage.
        """
        attempts = [self._state.running[each.key] for each in self._ended]
        satisfied = at_once(self._stages.look_anew, [attempt.spec for attempt in attempts])
        over: list[StageSpec] = []
        done: list[StageSpec] = []
        try:
            for attempt, is_satisfied in zip(attempts, satisfied, strict=True):
                failure = self._failure(attempt, self._ended[0].failure, is_satisfied)
                if failure is None:
                    done.append(attempt.spec)
                else:
                    self._answer(attempt, failure, capacity)
                over.append(attempt.spec)
                del self._ended[0], self._state.running[attempt.spec.key]
        finally:
            at_once(self._stages.release, [spec.key for spec in over])
            at_once(self._stages.drop_transfer_weights, done)

    def _answer(self, attempt: Attempt, failure: Failure, capacity: Callable[[], Capacity]) -> None:
        """Answer a failure, or else the one that the store refuses what that takes."""
        try:
            self._handle_failure(attempt, failure, capacity)
        except OSError as error:
            if passes(error):
                raise
            self._state.count_failure(attempt.spec, failure_of(error), now=self._clock())

    def _failure(
        self, attempt: Attempt, reported: Failure | None, satisfied: bool
    ) -> Failure | None:
        """Return what went wrong, as we know it, or None.

        The controller may have ended the stage itself, and a result may be missing: then it is not
        ``satisfied``.
        """
        if reported is not None and attempt.timed_out:
            return replace(
                reported,
                error="Timeout",
                message=f"ran longer than {self._limit_s:g} s",
                kind=FailureKind.TIMEOUT,
                when=time.time(),
            )
        if reported is None and not satisfied:
            message = "the stage ended without an error, but its result is not in the store"
            return Failure("LostResult", message, FailureKind.LOST, when=time.time())
        return reported

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
