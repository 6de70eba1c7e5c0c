"""What follows from a failure: again, how, or no more. Pure.

Each class of failure has its own answer, and its own way of being counted.
"""

from dataclasses import dataclass, replace

from orchestrator.coordination.stage_log import Standing
from orchestrator.store.failures import Failure, FailureKind

LR_SCALE_AFTER_DIVERGENCE = 0.5
# Failures that are not the stage's own fault: it goes on from its last snapshot.
RESUMES = frozenset({FailureKind.LOST, FailureKind.HUNG, FailureKind.PREEMPTED})


@dataclass(frozen=True)
class Attempts:
    """What happened to a stage in this run of the driver, and what the next attempt rests on."""

    failed: int = 0  # failures that count, of which ``max_attempts`` may happen
    message: str = ""  # the last failure in one line
    retryable: bool = True
    lr_scale: float = 1.0  # of the learning rate, for the next attempt


@dataclass(frozen=True)
class Aftermath:
    """What follows from a failure: the attempts with it, and whether the next begins anew."""

    attempts: Attempts
    restarts: bool = False  # what was trained is not to be gone on with: drop the snapshots


def after_failure(
    before: Attempts,
    failure: Failure,
    *,
    progressed: bool,
    climbed: bool,
    trains: bool = True,
) -> Aftermath:
    """Return what follows from one more failure of a stage.

    ``progressed``: the attempt left a newer snapshot or round.
    ``climbed``: there is another rung of the ladder of layouts to try.
    ``trains``: the stage has a learning rate.

    - out of memory: again on the next rung, as often as there is one; without one it counts
    - diverged: once more from the beginning at half the rate; never a third time, and never again
      where nothing is trained: the same scores would come out
    - lost, hung, preempted: again from the last snapshot, and counted only where no step was gained
    - claim lost: it counts as nothing, and nothing is wrong with the stage
    - bad input: never again; anything else is counted
    """
    after = replace(before, message=_message(failure, before))
    match failure.kind:
        case FailureKind.CLAIM_LOST:
            return Aftermath(before)
        case FailureKind.BAD_INPUT:
            return Aftermath(replace(after, failed=after.failed + 1, retryable=False))
        case FailureKind.OUT_OF_MEMORY if climbed:
            return Aftermath(after)
        case FailureKind.DIVERGED if trains and before.lr_scale == 1.0:
            return Aftermath(replace(after, lr_scale=LR_SCALE_AFTER_DIVERGENCE), restarts=True)
        case FailureKind.DIVERGED:
            return Aftermath(replace(after, failed=after.failed + 1, retryable=False))
        case kind if kind in RESUMES and progressed:
            return Aftermath(replace(after, failed=0))
    return Aftermath(replace(after, failed=after.failed + 1))


def as_known(
    reported: Failure, standing: Standing, limit_s: float | None, now: float
) -> Failure | None:
    """Return what went wrong, as the driver knows it; None where the stage is done all the same.

    ``standing``: how the attempt stands to its stage, which it may have committed before it was
    killed, or lost to another driver. ``limit_s``: for how long it could run, where it was ended
    for that. ``now``: in seconds since the epoch.
    """
    if standing is Standing.COMMITTED:
        return None
    if standing is Standing.LOST:
        return replace(reported, error="ClaimLostError", kind=FailureKind.CLAIM_LOST)
    if limit_s is None:
        return reported
    message = f"ran longer than {limit_s:g} s"
    return replace(reported, error="Timeout", message=message, kind=FailureKind.TIMEOUT, when=now)


def _message(failure: Failure, before: Attempts) -> str:
    """Return the failure in one line; of a second divergence also at which share of the rate."""
    if failure.kind is FailureKind.DIVERGED and before.lr_scale != 1.0:
        return f"{failure.line}, also at {before.lr_scale:g} of the learning rate"
    return failure.line
