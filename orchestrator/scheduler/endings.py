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
from orchestrator.store.failures import Failure, FailureKind


class Endings:
    """Takes up what ended of one driver's stages."""

    def __init__(
        self, stages: StageStore, state: SchedulerState, layouts: LayoutChooser, limit_s: float
    ) -> None:
        """``limit_s``: of the time that an attempt may compute."""
        self._stages, self._state, self._layouts = stages, state, layouts
        self._limit_s = limit_s

    def take_up(self, ended: Sequence[Finished], capacity: Callable[[], Capacity]) -> None:
        """Take up what the ends of stages mean, and release their claims."""
        attempts = [self._state.running.pop(each.key) for each in ended]
        satisfied = at_once(self._stages.look_anew, [attempt.spec for attempt in attempts])
        done: list[StageSpec] = []
        for attempt, each, is_satisfied in zip(attempts, ended, satisfied, strict=True):
            failure = self._failure(attempt, each.failure, is_satisfied)
            if failure is None:
                done.append(attempt.spec)
            else:
                self._handle_failure(attempt, failure, capacity)
        at_once(self._stages.release, [each.key for each in ended])
        at_once(self._stages.drop_transfer_weights, done)

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
        """Record a failure, and make ready for what follows from it."""
        spec = attempt.spec
        layout = failure.layout or attempt.layout.to_json()
        self._stages.record_failure(spec.key, replace(failure, layout=layout))
        climbed = failure.kind is FailureKind.OUT_OF_MEMORY and self._climb(attempt, capacity())
        progressed = self._stages.progress(spec.key) > attempt.progress
        restarts = self._state.count_failure(spec, failure, progressed=progressed, climbed=climbed)
        if restarts:
            self._stages.drop_snapshots(spec.key)

    def _climb(self, attempt: Attempt, capacity: Capacity) -> bool:
        """Whether there is another layout to try, which the next attempt then gets."""
        largest = self._state.largest_capacity
        return self._layouts.climb(attempt.spec, attempt.layout, capacity.in_all, largest)
