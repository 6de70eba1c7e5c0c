"""What follows from each class of failure."""

import pytest

from orchestrator.scheduler.retries import MOST_UNCOUNTED, Aftermath, Attempts, after_failure
from orchestrator.store.failures import Failure, FailureKind

K = FailureKind


FIRST = Attempts()


def after(
    kind: FailureKind, before: Attempts = FIRST, progressed: bool = False, climbed: bool = False
) -> Aftermath:
    return after_failure(before, Failure("E", "why", kind), progressed=progressed, climbed=climbed)


def test_every_class_has_an_answer_and_says_why() -> None:
    kinds = set(FailureKind) - {K.CLAIM_LOST}
    assert {after(kind).attempts.message for kind in kinds} == {"E: why"}


def test_a_claim_that_was_lost_counts_as_nothing_and_leaves_no_word() -> None:
    before = Attempts(failed=2, message="E: before", lr_scale=0.5)
    assert after(K.CLAIM_LOST, before) == Aftermath(before)


def test_out_of_memory_is_not_counted_while_there_is_a_rung() -> None:
    attempts = Attempts()
    for _ in range(9):
        attempts = after(K.OUT_OF_MEMORY, attempts, climbed=True).attempts
    assert attempts.failed == 0
    assert after(K.OUT_OF_MEMORY, attempts).attempts.failed == 1


def test_divergence_gets_one_more_attempt_from_the_beginning_at_half_the_rate() -> None:
    first = after(K.DIVERGED)
    assert first.restarts
    assert (first.attempts.lr_scale, first.attempts.failed, first.attempts.retryable) == (
        0.5,
        0,
        True,
    )
    second = after(K.DIVERGED, first.attempts)
    assert not second.restarts
    assert not second.attempts.retryable
    assert second.attempts.message == "E: why, also at 0.5 of the learning rate"


def test_what_trains_nothing_has_no_rate_to_lower() -> None:
    failure = Failure("E", "the score is nan", K.DIVERGED)
    after = after_failure(FIRST, failure, progressed=False, climbed=False, trains=False)
    assert (after.attempts.retryable, after.attempts.lr_scale) == (False, 1.0)
    assert after.attempts.message == "E: the score is nan"


@pytest.mark.parametrize("kind", [K.LOST, K.HUNG])
def test_what_is_lost_counts_only_while_nothing_is_gained(kind: FailureKind) -> None:
    assert after(kind, Attempts(failed=1)).attempts.failed == 2
    assert after(kind, Attempts(failed=1), progressed=True).attempts.failed == 0
    assert not after(kind, progressed=True).restarts


def in_a_row(kind: FailureKind, times: int, progressed: bool = False) -> list[Attempts]:
    """What is known after each of so many failures."""
    known = [Attempts(failed=1)]
    for _ in range(times):
        known.append(after(kind, known[-1], progressed=progressed).attempts)
    return known[1:]


@pytest.mark.parametrize("kind", [K.PREEMPTED, K.NODE_LOST, K.UNREACHABLE])
def test_what_is_nobodys_fault_does_not_count_though_nothing_is_gained(kind: FailureKind) -> None:
    known = in_a_row(kind, MOST_UNCOUNTED + 2)
    assert {each.failed for each in known[:-2]} == {1}
    assert [each.failed for each in known[-2:]] == [2, 3], "a crash loop ends"


@pytest.mark.parametrize("kind", [K.PREEMPTED, K.NODE_LOST, K.UNREACHABLE])
def test_what_gains_something_never_counts(kind: FailureKind) -> None:
    known = in_a_row(kind, 3 * MOST_UNCOUNTED, progressed=True)
    assert {each.failed for each in known} == {0}
    assert len({each.wait_s for each in known}) == 1, "nor does it wait ever longer"


def test_a_stage_that_got_no_answer_waits_ever_longer() -> None:
    waits = [each.wait_s for each in in_a_row(K.UNREACHABLE, 9)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


def test_a_stage_that_was_told_to_go_begins_again_at_once_the_first_time() -> None:
    assert [each.wait_s for each in in_a_row(K.PREEMPTED, 4)] == [0, 5, 10, 20]


def test_no_other_failure_waits() -> None:
    waited = after(K.UNREACHABLE).attempts
    assert after(K.UNKNOWN, waited).attempts.wait_s == 0


@pytest.mark.parametrize("kind", [K.UNKNOWN, K.DISK_FULL, K.TIMEOUT])
def test_others_are_counted_whatever_they_gained(kind: FailureKind) -> None:
    assert after(kind, Attempts(failed=1), progressed=True).attempts.failed == 2


def test_bad_input_is_final() -> None:
    assert not after(K.BAD_INPUT).attempts.retryable


def test_a_lower_rate_stays_low() -> None:
    slowed = after(K.DIVERGED).attempts
    assert after(K.LOST, slowed, progressed=True).attempts.lr_scale == 0.5
    assert after(K.OUT_OF_MEMORY, slowed, climbed=True).attempts.lr_scale == 0.5
