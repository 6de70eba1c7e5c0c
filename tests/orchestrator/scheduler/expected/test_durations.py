"""What is expected of stages before and after like ones have ended."""

from dataclasses import replace

import pytest

from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.expected.durations import (
    Durations,
    Knowledge,
    begin_s,
    estimated_s,
)
from orchestrator.scheduler.expected.effort import Effort
from orchestrator.stages.stage_specs import StageKind, StageSpec

ONE, TWICE = Effort(3e12, 0, 0), Effort(6e12, 0, 0)
CPU, TWO_CPUS, GPU = Layout(), Layout(cpus=2), Layout(gpus=1)


def spec(kind: StageKind, method: str = "", model: str = "m") -> StageSpec:
    name = {StageKind.RANKING: "selector", StageKind.TRANSFER: "transfer"}.get(kind, "method")
    return StageSpec(kind, {name: {"name": method}}, {"model": {"name": model}})


PRUNE, DRIFT = spec(StageKind.PRUNE), spec(StageKind.TRANSFER, "drift")
HEAL = spec(StageKind.TRANSFER, "heal")


def test_twice_the_devices_take_half_the_time() -> None:
    assert estimated_s(ONE, CPU) == 2 * estimated_s(ONE, TWO_CPUS)
    assert estimated_s(ONE, GPU) == 4 * estimated_s(ONE, Layout(ranks=4, gpus=1))
    assert estimated_s(ONE, GPU) < estimated_s(ONE, TWO_CPUS)


def test_a_half_of_a_gpu_takes_twice_the_time() -> None:
    assert estimated_s(ONE, replace(GPU, gpus=0.5)) == 2 * estimated_s(ONE, GPU)


def test_without_a_measurement_the_estimate_is_expected() -> None:
    assert Durations().expected_s(DRIFT, ONE, CPU) == begin_s(CPU) + estimated_s(ONE, CPU)


def test_processes_that_find_each_other_take_longer_to_begin() -> None:
    assert begin_s(Layout(ranks=2)) > begin_s(CPU)


def test_what_like_stages_took_is_expected_of_others_by_their_work() -> None:
    durations = Durations()
    durations.learn(DRIFT, ONE, CPU, 500.0)
    assert durations.expected_s(DRIFT, TWICE, CPU) == pytest.approx(begin_s(CPU) + 1000.0)
    assert durations.expected_s(DRIFT, TWICE, TWO_CPUS) == pytest.approx(begin_s(CPU) + 500.0)


def test_the_closest_stages_count() -> None:
    durations, expected_s = Durations(), begin_s(CPU) + 500.0
    durations.learn(DRIFT, ONE, CPU, 500.0)
    assert durations.expected_s(HEAL, ONE, CPU) == pytest.approx(expected_s), "the kind"
    assert durations.expected_s(PRUNE, ONE, CPU) == pytest.approx(expected_s), "the device"
    durations.learn(HEAL, ONE, CPU, 100.0)
    assert durations.expected_s(DRIFT, ONE, CPU) == pytest.approx(expected_s), "the method"
    other = spec(StageKind.TRANSFER, "drift", "another")
    durations.learn(other, ONE, CPU, 100.0)
    assert durations.expected_s(DRIFT, ONE, CPU) == pytest.approx(expected_s), "the model"


def test_what_a_cpu_took_says_nothing_of_gpus() -> None:
    durations = Durations()
    durations.learn(DRIFT, ONE, CPU, 500.0)
    assert durations.expected_s(DRIFT, ONE, GPU) == begin_s(GPU) + estimated_s(ONE, GPU)


def test_large_stages_count_for_more_than_small_ones() -> None:
    durations = Durations()
    durations.learn(DRIFT, ONE, CPU, 100.0)
    durations.learn(DRIFT, TWICE, CPU, 500.0)
    assert durations.expected_s(DRIFT, ONE, CPU) == pytest.approx(begin_s(CPU) + 200.0)


@pytest.mark.parametrize(("effort", "seconds"), [(Effort(), 5.0), (ONE, 0.0)])
def test_nothing_is_learned_from_no_work_or_no_time(effort: Effort, seconds: float) -> None:
    durations = Durations()
    durations.learn(DRIFT, effort, CPU, seconds)
    assert durations.expected_s(DRIFT, ONE, CPU) == begin_s(CPU) + estimated_s(ONE, CPU)


def test_what_an_expectation_rests_on_is_the_closest_that_was_measured() -> None:
    durations = Durations()
    durations.learn(DRIFT, ONE, CPU, 500.0)
    other = spec(StageKind.TRANSFER, "drift", "another")
    asked = (DRIFT, other, HEAL, PRUNE)
    assert [durations.knowledge(each, CPU) for each in asked] == [
        Knowledge.MODEL,
        Knowledge.METHOD,
        Knowledge.KIND,
        Knowledge.DEVICE,
    ]
    assert durations.knowledge(DRIFT, GPU) is Knowledge.NOTHING
