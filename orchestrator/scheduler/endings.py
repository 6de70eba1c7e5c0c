"""What a stage's end means: a result, or a failure that is recorded and counted, and what follows.

Knows neither the launcher nor what is started next.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.execution.launcher import Finished
from orchestrator.scheduler.stage_store import StageStore
from orchestrator.scheduler.state import Attempt, SchedulerState
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.patience import passes


@dataclass(frozen=True)
class Endings:
    """Takes up the ends of one grid's stages.

    ``climb`` says of an attempt that was out of memory whether there is another layout to try.
    ``limit_s``: how long an attempt may compute.
    """

    stages: StageStore
    state: SchedulerState
    climb: Callable[[Attempt], bool]
    clock: Callable[[], float]
    limit_s: float

    def collect(self, finished: Finished) -> None:
        """Take up what a stage's end means, and release its claim.

        Raises OSError where the store gives no answer: nothing is lost, and it may be called again.
        What the store refuses fails the stage.
        """
        key = finished.key
        attempt = self.state.running[key]
        self.stages.forget(key)
        try:
            failure = self._failure(attempt, finished.failure)
            if failure is not None:
                self._handle(attempt, failure)
        except OSError as error:
            if passes(error):
                raise
            failure = failure_of(error)
            self.state.count_failure(attempt.spec, failure, now=self.clock())
        del self.state.running[key]
        self.stages.release(key)
        if failure is None:
            self.stages.drop_transfer_weights(attempt.spec)

    def _failure(self, attempt: Attempt, reported: Failure | None) -> Failure | None:
        """Return what went wrong, as we know it, or None.

        The controller may have ended the stage itself, and a result may be missing.
        """
        if reported is not None and attempt.timed_out:
            return replace(
                reported,
                error="Timeout",
                message=f"ran longer than {self.limit_s:g} s",
                kind=FailureKind.TIMEOUT,
                when=time.time(),
            )
        if reported is None and not self.stages.is_satisfied(attempt.spec):
            message = "the stage ended without an error, but its result is not in the store"
            return Failure("LostResult", message, FailureKind.LOST, when=time.time())
        return reported

    def _handle(self, attempt: Attempt, failure: Failure) -> None:
        """Record a failure, and make ready for what follows from it.

        It is counted once all that has to be asked of the store is known.
        """
        spec = attempt.spec
        layout = failure.layout or attempt.layout.to_json()
        self.stages.record_failure(spec.key, replace(failure, layout=layout))
        climbed = failure.kind is FailureKind.OUT_OF_MEMORY and self.climb(attempt)
        progressed = self.stages.progress(spec.key) > attempt.progress
        restarts = self.state.count_failure(
            spec, failure, progressed=progressed, climbed=climbed, now=self.clock()
        )
        if restarts:
            self.stages.drop_snapshots(spec.key)
