"""What follows from a failure: again, how, or no more. Pure.

Each class of failure has its own answer, and its own way of being counted.
"""

from dataclasses import dataclass, replace

from orchestrator.store.failures import Failure, FailureKind

LR_SCALE_AFTER_DIVERGENCE = 0.5
RESUMES = frozenset(
    {FailureKind.LOST, FailureKind.HUNG, FailureKind.PREEMPTED}
)  # none of these is the stage's own fault


@dataclass(frozen=True)
class Attempts:
    """What happened to a stage in this run of the driver. ``failed`` counts what ``max_attempts`` limits."""

    failed: int = 0
    message: str = ""
    retryable: bool = True
    lr_scale: float = 1.0


@dataclass(frozen=True)
class Aftermath:
    """``restarts``: what was trained is not to be gone on with: drop the snapshots."""

    attempts: Attempts
    restarts: bool = False


def after_failure(
    before: Attempts, failure: Failure, *, progressed: bool, climbed: bool
) -> Aftermath:
    """``progressed``: the attempt left a newer snapshot or round. ``climbed``: there is a rung of the ladder left.

    - out of memory: again on the next rung, as often as there is one; without one it counts
    - diverged: once more from the beginning at half the rate; never a third time
    - lost, hung, preempted: again from the last snapshot, and counted only where no step was gained
    - bad input: never again; anything else is counted
    """
    after = replace(before, message=_message(failure, before))
    match failure.kind:
        case FailureKind.BAD_INPUT:
            return Aftermath(replace(after, failed=after.failed + 1, retryable=False))
        case FailureKind.OUT_OF_MEMORY if climbed:
            return Aftermath(after)
        case FailureKind.DIVERGED if before.lr_scale == 1.0:
            return Aftermath(replace(after, lr_scale=LR_SCALE_AFTER_DIVERGENCE), restarts=True)
        case FailureKind.DIVERGED:
            return Aftermath(replace(after, failed=after.failed + 1, retryable=False))
        case kind if kind in RESUMES and progressed:
            return Aftermath(replace(after, failed=0))
    return Aftermath(replace(after, failed=after.failed + 1))


def _message(failure: Failure, before: Attempts) -> str:
    again = f", also at {before.lr_scale:g} of the learning rate" if before.lr_scale != 1.0 else ""
    return failure.line + (again if failure.kind is FailureKind.DIVERGED else "")
