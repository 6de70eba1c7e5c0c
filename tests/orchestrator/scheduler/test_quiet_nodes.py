"""Measurements on CPUs in a cluster that others use: they wait for a node without other jobs."""

from dataclasses import replace

from orchestrator.layouts.capacity import Capacity
from orchestrator.scheduler.placement.waiting import has_quiet_node
from orchestrator.scheduler.policy import Facts, Running, Start, Wait, decide
from orchestrator.scheduler.state import SchedulerState
from orchestrator.stages.stage_specs import StageKind, StageSpec

TRAIN = StageSpec(StageKind.TRANSFER, {})
MEASURE = StageSpec(StageKind.MEASURE, {})


def beside_others(free: int, cpus: int) -> Capacity:
    """A cluster of so many CPUs, of which others have left so many free."""
    return replace(Capacity(free), whole=Capacity(cpus))


def test_a_measurement_that_others_keep_out_holds_up_nothing_of_ours() -> None:
    running = {MEASURE.key: Running(StageKind.MEASURE, begun=False)}
    facts = Facts([TRAIN], running=running, capacity=beside_others(3, 4))
    assert decide(facts, max_attempts=2) == (Start(TRAIN),)


def test_a_measurement_that_is_being_started_has_the_machine_to_itself() -> None:
    running = {MEASURE.key: Running(StageKind.MEASURE, begun=False)}
    facts = Facts([TRAIN], running=running, capacity=Capacity(4))
    assert decide(facts, max_attempts=2) == (
        Wait(TRAIN, "a measurement has the machine for itself"),
    )


def test_a_measurement_waits_for_a_node_without_other_jobs() -> None:
    facts = Facts([MEASURE], capacity=beside_others(3, 4), quiet_only=True)
    (decision,) = decide(facts, max_attempts=2)
    assert isinstance(decision, Wait)
    assert decision.reason == "waits for a quiet machine; other jobs hold 1 of 4 CPUs"
    quiet = replace(Capacity.of([Capacity(2), Capacity(4)]), whole=Capacity.of([Capacity(4)] * 2))
    assert decide(replace(facts, capacity=quiet), max_attempts=2) == (Start(MEASURE),)


def test_a_smaller_node_without_other_jobs_is_not_the_one_that_speed_is_measured_on() -> None:
    whole = Capacity.of([Capacity(4), Capacity(16)])
    busy = replace(Capacity.of([Capacity(4), Capacity(6)]), whole=whole)
    assert not has_quiet_node(busy)
    assert has_quiet_node(replace(Capacity.of([Capacity(1), Capacity(16)]), whole=whole))


def test_a_measurement_is_made_beside_others_in_the_end() -> None:
    state = SchedulerState()
    state.see_capacity(beside_others(3, 4))
    assert state.waits_for_quiet(100, limit_s=60)
    assert state.waits_for_quiet(159, limit_s=60)
    assert not state.waits_for_quiet(160, limit_s=60)


def test_the_wait_for_a_quiet_node_begins_anew_where_one_was_seen() -> None:
    state = SchedulerState()
    for now, free in ((100, 3), (150, 4), (200, 3)):
        state.see_capacity(beside_others(free, 4))
        assert state.waits_for_quiet(now, limit_s=60)
    assert state.waits_for_quiet(259, limit_s=60)
