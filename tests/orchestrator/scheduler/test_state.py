"""What a driver remembers of its stages: time-outs, claims of others, attempts, its activity."""

from dataclasses import replace

from orchestrator.coordination.news import Work
from orchestrator.execution.launcher import Heard
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.attempt import Attempt, Progress
from orchestrator.scheduler.retries import Attempts
from orchestrator.scheduler.state import SchedulerState
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.failures import Failure, FailureKind
from trsp.config import HealSettings

SPEC = StageSpec(StageKind.PRUNE, {"layers": [1]})
TRAINS = StageSpec(
    StageKind.TRANSFER,
    {"layers": [1], "transfer": HealSettings().model_dump(), "calibration": {"block_tokens": 8}},
)
OTHER = StageSpec(StageKind.PRUNE, {"layers": [2]})


def attempt(spec: StageSpec = SPEC, started: float = 0.0, ranks: int = 1) -> Attempt:
    return Attempt(spec, Layout(ranks=ranks), started, Progress(0, 0), began=started)


def test_an_attempt_times_out_once_and_others_run_on() -> None:
    state = SchedulerState()
    state.running = {SPEC.key: attempt(), OTHER.key: attempt(OTHER, started=50)}
    assert state.time_out(100, limit_s=100) == ()
    assert state.time_out(101, limit_s=100) == (SPEC.key,)
    assert state.time_out(102, limit_s=100) == (), "it was said already"
    assert [each.timed_out for each in state.running.values()] == [True, False]
    assert list(state.running) == [SPEC.key, OTHER.key], "in order of start"


def test_an_attempt_that_waits_for_its_place_does_not_time_out() -> None:
    state = SchedulerState()
    state.running = {SPEC.key: replace(attempt(), began=None)}
    assert state.time_out(1e6, limit_s=100) == ()
    state.see_begun(frozenset({SPEC.key}), 1e6)
    assert state.time_out(1e6 + 101, limit_s=100) == (SPEC.key,)


def test_a_second_attempt_that_waits_for_its_place_says_why_it_is_one() -> None:
    state = SchedulerState()
    state.running = {SPEC.key: replace(attempt(), began=None)}
    state.count_failure(SPEC, Failure("Lost", "the node is gone", FailureKind.LOST))
    activity = state.activity()
    assert SPEC.key not in activity.running
    waits = activity.waits[SPEC.key]
    assert waits.startswith("is being started: takes 1 CPU; again after Lost: the node is gone")


def test_a_measurement_may_wait_for_its_device_on_top() -> None:
    state = SchedulerState()
    measure = StageSpec(StageKind.MEASURE, {"layers_kept": 3})
    state.running = {measure.key: attempt(measure)}
    assert state.time_out(149, limit_s=100, device_wait_s=50) == ()
    assert state.time_out(151, limit_s=100, device_wait_s=50) == (measure.key,)


def test_the_largest_capacity_is_remembered() -> None:
    state = SchedulerState()
    for capacity in (Capacity(8, 2), Capacity(4, 4), Capacity(99, 3)):
        state.see_capacity(capacity)
    assert state.largest_capacity == Capacity(4, 4)


def test_failures_add_up_by_stage() -> None:
    state = SchedulerState()
    assert state.attempts_at(SPEC.key) == Attempts()
    for _ in range(2):
        assert not state.count_failure(SPEC, Failure("KeyError", "'x'", FailureKind.UNKNOWN))
    assert state.attempts_at(SPEC.key) == Attempts(failed=2, message="KeyError: 'x'")
    assert state.attempts_at(OTHER.key) == Attempts()


def test_a_stage_that_diverged_begins_anew() -> None:
    state = SchedulerState()
    assert state.count_failure(TRAINS, Failure("E", "nan", FailureKind.DIVERGED))
    assert state.attempts_at(TRAINS.key).lr_scale == 0.5


def test_scores_that_are_not_finite_are_not_computed_again() -> None:
    state = SchedulerState()
    assert not state.count_failure(SPEC, Failure("E", "nan", FailureKind.DIVERGED))
    assert not state.attempts_at(SPEC.key).retryable


def test_more_rounds_or_a_later_snapshot_are_progress() -> None:
    assert Progress(1, 0) > Progress(0, 9)
    assert Progress(1, 2) > Progress(1, 1)
    assert not Progress(1, 1) > Progress(1, 1)


def test_the_activity_tells_what_runs_and_what_is_unusual_about_it() -> None:
    state = SchedulerState()
    state.running = {SPEC.key: attempt(), OTHER.key: attempt(OTHER, ranks=2)}
    state.attempts = {SPEC.key: Attempts(1, "KeyError: 'x'", lr_scale=0.5)}
    state.given_up = {"rank-1": "MemoryError: 12 GB"}
    activity = state.activity()
    assert activity.live
    assert activity.running == {SPEC.key: StageKind.PRUNE, OTHER.key: StageKind.PRUNE}
    assert activity.given_up == state.given_up
    assert activity.notes == {
        SPEC.key: "again after KeyError: 'x'; 0.5 of the learning rate",
        OTHER.key: Layout(ranks=2).text,
    }


def test_what_runs_ends_when_its_expected_seconds_are_over() -> None:
    assert attempt(started=10.0).left_s(now=14.0, expected_s=20.0) == 16.0


def test_what_takes_longer_than_expected_takes_a_tenth_more() -> None:
    assert attempt(started=0.0).left_s(now=500.0, expected_s=20.0) == 2.0


def test_what_has_not_begun_takes_all_of_its_seconds_from_now_on() -> None:
    waits = replace(attempt(), began=None)
    assert waits.left_s(now=500.0, expected_s=20.0) == 20.0


def test_a_ranking_lacks_what_is_expected_of_its_other_rounds() -> None:
    ranking = attempt(StageSpec(StageKind.RANKING, {}))
    assert ranking.left_s(now=500.0, expected_s=20.0) == 20.0


def test_nobody_knows_when_a_stage_ends_of_which_nothing_is_expected() -> None:
    assert attempt().left_s(now=500.0, expected_s=None) is None


def test_what_computes_is_told_with_what_it_said_of_itself() -> None:
    state = SchedulerState()
    waits = replace(attempt(OTHER), began=None)
    state.running = {SPEC.key: attempt(started=5.0), OTHER.key: waits}
    heard = {SPEC.key: Heard("step 3 of 20", "10.0.0.3"), "rank-gone": Heard("step 1 of 2")}
    working = state.working(heard, now=7.0, wall=lambda: 1007.0)
    assert working == {SPEC.key: Work(1005.0, "step 3 of 20", "10.0.0.3")}


def test_of_a_chain_the_stage_whose_turn_it_is_computes() -> None:
    state = SchedulerState()
    first = replace(attempt(TRAINS), chain=TRAINS.key)
    second = replace(attempt(), chain=TRAINS.key)
    state.running = {TRAINS.key: first, SPEC.key: second}
    assert set(state.working({}, now=7.0)) == {SPEC.key}
