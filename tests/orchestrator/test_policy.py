"""Decisions from facts: what starts, what waits and why, what is given up."""

from typing import Any

from orchestrator.layout import Capacity, Layout
from orchestrator.policy import PRIORITY, Decision, Facts, GiveUp, Running, Start, Wait, decide
from orchestrator.retries import Attempts
from orchestrator.stages import Kind, StageSpec


def spec(kind: Kind, name: str = "") -> StageSpec:
    return StageSpec(kind, {"name": name})


RANK, TRANSFER, MEASURE, EVALUATE = (spec(kind) for kind in (Kind.RANK, Kind.TRANSFER, Kind.MEASURE, Kind.EVALUATE))


def decided(needs: list[StageSpec], cpus: int = 1, **facts: Any) -> tuple[Decision, ...]:
    return decide(Facts(needs, **({"capacity": Capacity(cpus)} | facts)), max_attempts=2)


def starts(decisions: tuple[Decision, ...]) -> list[Kind]:
    return [decision.spec.kind for decision in decisions if isinstance(decision, Start)]


def reasons(decisions: tuple[Decision, ...]) -> list[str]:
    return [decision.reason for decision in decisions if isinstance(decision, Wait)]


def test_every_kind_has_a_priority() -> None:
    assert sorted(PRIORITY) == sorted(Kind)


def test_rankings_first_then_what_finishes_a_cell_and_measurements_last() -> None:
    needs = [spec(kind) for kind in sorted(Kind)]
    assert starts(decided(needs, cpus=9)) == [kind for kind in PRIORITY if kind is not Kind.MEASURE]


def test_no_more_starts_than_there_is_room_for() -> None:
    needs = [spec(Kind.EVALUATE, str(i)) for i in range(5)]
    running = {f"evaluate-{i}": Running(Kind.EVALUATE) for i in range(2)}
    decisions = decided(needs, running=running, cpus=4)
    assert len(starts(decisions)) == 2
    assert reasons(decisions) == ["waits for 1 CPU"] * 3


def test_more_running_than_fits_after_a_node_was_lost() -> None:
    running = {f"evaluate-{i}": Running(Kind.EVALUATE) for i in range(4)}
    assert starts(decided([RANK], running=running, cpus=1)) == []


def test_what_runs_is_not_decided_about() -> None:
    assert decided([RANK], running={RANK.key: Running(Kind.RANK)}, cpus=9) == ()


def test_a_failure_is_tried_again_up_to_the_limit() -> None:
    (first,) = decided([RANK])
    (second,) = decided([RANK], attempts={RANK.key: Attempts(1, "MemoryError: 12 GB")})
    (third,) = decided([RANK], attempts={RANK.key: Attempts(2, "MemoryError: 12 GB")})
    assert first == Start(RANK)
    assert second == Start(RANK)
    assert third == GiveUp(RANK, "MemoryError: 12 GB")


def test_an_error_of_the_users_is_not_tried_again() -> None:
    (decision,) = decided([RANK], attempts={RANK.key: Attempts(1, "InvalidInputError: no such model", retryable=False)})
    assert decision == GiveUp(RANK, "InvalidInputError: no such model")


def test_giving_up_takes_no_room() -> None:
    decisions = decided([RANK, TRANSFER], attempts={RANK.key: Attempts(2, "gone")}, cpus=1)
    assert starts(decisions) == [Kind.TRANSFER]


def test_what_another_driver_works_on_is_left_to_it_and_takes_no_room() -> None:
    decisions = decided([RANK, TRANSFER], foreign={RANK.key: "another driver"}, cpus=1)
    assert reasons(decisions) == ["another driver works on it"]
    assert starts(decisions) == [Kind.TRANSFER]


def test_a_measurement_waits_until_it_is_alone() -> None:
    assert reasons(decided([MEASURE], running={"rank-1": Running(Kind.RANK)}, cpus=4)) == ["waits for a quiet machine"]
    beside = decided([MEASURE, EVALUATE], cpus=4)
    assert starts(beside) == [Kind.EVALUATE]
    assert reasons(beside) == ["waits for a quiet machine"]
    assert starts(decided([MEASURE], cpus=4)) == [Kind.MEASURE]


def test_nothing_starts_beside_a_measurement() -> None:
    decisions = decided([RANK, EVALUATE], running={"measure-1": Running(Kind.MEASURE)}, cpus=4)
    assert reasons(decisions) == ["a measurement has the machine for itself"] * 2
    two = decided([spec(Kind.MEASURE, "a"), spec(Kind.MEASURE, "b")], cpus=4)
    assert starts(two) == [Kind.MEASURE]


def test_where_measurements_have_their_own_accelerator_they_run_beside_others() -> None:
    decisions = decided([MEASURE, EVALUATE], running={"measure-1": Running(Kind.MEASURE)}, cpus=4, measure_alone=False)
    assert starts(decisions) == [Kind.EVALUATE, Kind.MEASURE]
