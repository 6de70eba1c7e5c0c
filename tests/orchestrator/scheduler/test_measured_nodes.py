"""Measurements on a cluster of CPU nodes: each has one node to itself, and the others go on."""

from dataclasses import replace
from typing import Any

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.policy import Decision, Facts, Running, Start, Wait, decide
from orchestrator.stages.stage_specs import StageKind, StageSpec

MEASURE, OTHER_MEASURE = (StageSpec(StageKind.MEASURE, {"shape": n}) for n in range(2))
TRAIN = [StageSpec(StageKind.TRANSFER, {"number": number}) for number in range(9)]
NODES = Capacity.of([Capacity(4)] * 2)


def decided(needs: list[StageSpec], **facts: Any) -> tuple[Decision, ...]:
    return decide(Facts(needs, **({"capacity": NODES} | facts)), max_attempts=2)


def started(decisions: tuple[Decision, ...]) -> list[StageSpec]:
    return [each.spec for each in decisions if isinstance(each, Start)]


def running(number: int) -> dict[str, Running]:
    return {f"train-{each}": Running(StageKind.TRANSFER) for each in range(number)}


def test_a_measurement_starts_beside_others_where_a_node_is_left() -> None:
    assert started(decided([MEASURE], running=running(4))) == [MEASURE]


def test_a_measurement_starts_in_its_own_layout() -> None:
    (start,) = decided([MEASURE], layouts={MEASURE.key: Layout(cpus=2)})
    assert start == Start(MEASURE, Layout(cpus=2))


def test_a_measurement_waits_where_every_node_has_a_stage() -> None:
    (decision,) = decided([MEASURE], running=running(5))
    assert isinstance(decision, Wait)
    assert decision.reason == "waits for a quiet node"
    assert decision.for_room == ()


def test_a_measurement_keeps_no_other_stage_waiting() -> None:
    expected = {MEASURE.key: 9.0} | {spec.key: 1.0 for spec in TRAIN}
    decisions = decided([MEASURE, *TRAIN], after=expected, seconds=expected)
    assert started(decisions) == TRAIN[:8]


def test_others_go_on_beside_a_measurement_but_not_on_its_node() -> None:
    at_work = {MEASURE.key: Running(StageKind.MEASURE)}
    assert started(decided(TRAIN, running=at_work)) == TRAIN[:4]


def test_as_many_measurements_at_once_as_there_are_quiet_nodes() -> None:
    both = [MEASURE, OTHER_MEASURE]
    assert started(decided(both)) == both
    assert started(decided(both, running=running(1))) == [MEASURE]


def test_a_measurement_that_has_found_no_node_keeps_others_from_nothing() -> None:
    """Stages lie scattered, as Ray has put them: by number there was a node, and there is none."""
    at_work = {MEASURE.key: Running(StageKind.MEASURE, begun=False)}
    assert started(decided(TRAIN, running=at_work)) == TRAIN[:8]


def test_one_measurement_waits_for_its_node_at_a_time() -> None:
    at_work = {MEASURE.key: Running(StageKind.MEASURE, begun=False)}
    (decision,) = decided([OTHER_MEASURE], running=at_work)
    assert isinstance(decision, Wait)
    assert decision.reason == "waits for a quiet node"


def test_a_measurement_that_waits_for_its_node_counts_among_the_stages_at_once() -> None:
    at_work = {MEASURE.key: Running(StageKind.MEASURE, begun=False)}
    assert started(decided(TRAIN, running=at_work, max_parallel=3)) == TRAIN[:2]


def test_a_measurement_is_for_one_of_the_largest_nodes() -> None:
    mixed = Capacity.of([Capacity(2), Capacity(4)])
    assert started(decided([MEASURE], capacity=mixed, running=running(2))) == [MEASURE]
    assert started(decided([MEASURE], capacity=mixed, running=running(3))) == []


def test_a_measurement_waits_for_a_node_without_other_jobs_while_that_may_come() -> None:
    shared = replace(Capacity.of([Capacity(2), Capacity(3)]), whole=NODES)
    (decision,) = decided([MEASURE], capacity=shared, quiet_only=True)
    assert isinstance(decision, Wait)
    assert decision.reason == "waits for a quiet machine; other jobs hold 3 of 8 CPUs"
    assert started(decided([MEASURE], capacity=shared)) == [MEASURE]


def test_a_measurement_does_not_wait_for_nodes_that_another_stage_waits_for() -> None:
    """They may never come back; then it was never measured, on nodes that stood idle."""
    gang = StageSpec(StageKind.TRANSFER, {"gang": True})
    layouts = {gang.key: Layout(ranks=3, cpus=4)}
    largest = Capacity.of([Capacity(4)] * 3)
    decisions = decided([gang, MEASURE], layouts=layouts, largest_capacity=largest)
    assert started(decisions) == [MEASURE]


def test_a_measurement_waits_while_another_stage_waits_for_room_that_ours_hold() -> None:
    gang = StageSpec(StageKind.TRANSFER, {"gang": True})
    layouts = {gang.key: Layout(ranks=2, cpus=4)}
    assert started(decided([gang, MEASURE], layouts=layouts, running=running(1))) == []
