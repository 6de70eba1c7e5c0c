"""What follows from a failure: again, how, or no more. Pure.

Each class of failure has its own answer, and its own way of being counted.
"""

from dataclasses import dataclass, replace

from orchestrator.coordination.stage_log import Standing
from orchestrator.store.failures import Failure, FailureKind

LR_SCALE_AFTER_DIVERGENCE = 0.5
# Failures that are not the stage's own fault: it goes on from its last snapshot.
RESUMES = frozenset({FailureKind.LOST, FailureKind.HUNG})
# Those that are nobody's fault: each waits longer than the one before, and none counts.
UNCOUNTED = frozenset({FailureKind.UNREACHABLE, FailureKind.PREEMPTED, FailureKind.NODE_LOST})
# So many of these in a row that gain nothing may be a stage's own doing: from then on they count.
MOST_UNCOUNTED = 20
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0


@dataclass(frozen=True)
class Attempts:
    """What happened to a stage in this run of the driver, and what the next attempt rests on."""

    failed: int = 0  # failures that count, of which ``max_attempts`` may happen
    message: str = ""  # the last failure in one line
    retryable: bool = True
    lr_scale: float = 1.0  # of the learning rate, for the next attempt
    uncounted: int = 0  # failures in a row that did not count, and gained nothing
    wait_s: float = 0.0  # after the last failure, before the next attempt


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
    - lost, hung: again from the last snapshot, and counted only where no step was gained
    - preempted, its node lost, no answer of a hub, store or file system: again from the last
      snapshot, after a wait, and not counted before MOST_UNCOUNTED in a row that gained nothing
    - claim lost: it counts as nothing, and nothing is wrong with the stage
    - bad input: never again; anything else is counted
    """
    after = replace(before, message=_message(failure, before), wait_s=0.0)
    match failure.kind:
        case FailureKind.CLAIM_LOST:
            return Aftermath(replace(before, wait_s=0.0))
        case kind if kind in UNCOUNTED:
            return Aftermath(_uncounted(after, kind, progressed=progressed))
        case FailureKind.BAD_INPUT:
            return Aftermath(replace(after, failed=after.failed + 1, retryable=False))
        case FailureKind.OUT_OF_MEMORY if climbed:
            return Aftermath(after)
        case FailureKind.DIVERGED if trains and before.lr_scale == 1.0:
            return Aftermath(replace(after, lr_scale=LR_SCALE_AFTER_DIVERGENCE), restarts=True)
        case FailureKind.DIVERGED:
            return Aftermath(replace(after, failed=after.failed + 1, retryable=False))
        case kind if kind in RESUMES and progressed:
            return Aftermath(replace(after, failed=0, uncounted=0))
    return Aftermath(replace(after, failed=after.failed + 1))


def _uncounted(after: Attempts, kind: FailureKind, *, progressed: bool) -> Attempts:
    """Return the attempts with one more failure that is nobody's fault, as far as that goes.

    What was told to go, or lost its node, is tried again at once; what got no answer waits. Then
    each waits twice as long as the one before.
    """
    before = 0 if progressed else after.uncounted
    doublings = before if kind is FailureKind.UNREACHABLE else before - 1
    wait_s = min(FIRST_WAIT_S * 2**doublings, LONGEST_WAIT_S) if doublings >= 0 else 0.0
    counts = before >= MOST_UNCOUNTED
    failed = 0 if progressed else after.failed + counts
    return replace(after, failed=failed, uncounted=before + 1, wait_s=wait_s)


def as_known(reported: Failure, standing: Standing, limit_s: float | None, now: float) -> Failure:
    """Return what went wrong with an attempt that did not commit, as the driver knows it.

    ``standing``: how the attempt stands to its stage, which it may have lost to another driver.
    ``limit_s``: for how long it could run, where it was ended for that. ``now``: in seconds since
    the epoch.
    """
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
