"""The stopwatch of an attempt, and what of it stands beside the results of real stages."""

import json
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.execution.libraries import import_libraries, libraries_of
from orchestrator.execution.run_stage import StageTask, run_task
from orchestrator.execution.timings import Stopwatch
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import evaluate_spec, prune_spec, ranking_spec
from orchestrator.stages.timings import Phase, StageTimings, timings_in
from orchestrator.store.store import Store
from tests.orchestrator.execution.conftest import LAYERS, RunStage


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watch_at(clock: Clock, asked: float = 0.0) -> Stopwatch:
    return Stopwatch(asked, clock, lambda: clock.now)


def test_the_seconds_of_a_phase_are_without_those_of_phases_inside_it(clock: Clock) -> None:
    watch = watch_at(clock)
    with watch.phase(Phase.COMPUTE):
        clock.now += 1
        with watch.phase(Phase.LOAD):
            clock.now += 10
        clock.now += 2
    assert watch.seconds == {Phase.START: 0, Phase.COMPUTE: 3, Phase.LOAD: 10}


def test_seconds_outside_all_phases_are_others(clock: Clock) -> None:
    watch = watch_at(clock)
    clock.now += 50
    with watch.phase(Phase.SAVE):
        clock.now += 1
    clock.now += 50
    with watch.phase(Phase.SAVE):
        clock.now += 2
    assert watch.seconds == {Phase.START: 0, Phase.SAVE: 3}


def test_a_phase_that_is_still_open_counts_up_to_now(clock: Clock) -> None:
    watch = watch_at(clock)
    with watch.phase(Phase.COMPUTE), watch.phase(Phase.COMMIT):
        clock.now += 4
        assert watch.seconds[Phase.COMMIT] == 4


def test_a_phase_that_fails_ends_there(clock: Clock) -> None:
    watch = watch_at(clock)
    with suppress(OSError), watch.phase(Phase.LOAD):
        clock.now += 1
        raise OSError
    clock.now += 9
    assert watch.seconds[Phase.LOAD] == 1


def test_the_start_is_what_went_by_since_it_was_asked_for(clock: Clock) -> None:
    assert watch_at(clock, asked=93.0).seconds == {Phase.START: 7}


def test_nothing_begins_before_it_is_asked_for_by_a_clock_that_is_ahead(clock: Clock) -> None:
    watch = watch_at(clock, asked=130.0)
    assert (watch.asked, watch.seconds) == (100, {Phase.START: 0})


def test_times_are_read_back_as_they_were_written() -> None:
    times = StageTimings(1.5, 2.0, 9.25, {Phase.START: 0.5, Phase.LOAD: 7.0}, "a1", "n", 12, 2, 4)
    assert timings_in(json.loads(json.dumps({"timings": times.to_json()}))) == times


@pytest.mark.parametrize("stored", [{}, {"timings": None}, {"timings": {"began": "early"}}])
def test_results_without_times_that_can_be_read_have_none(stored: dict[str, object]) -> None:
    assert timings_in(stored) is None


def test_the_start_is_no_work() -> None:
    times = StageTimings(0, 5, 9, {Phase.START: 5.0, Phase.IMPORTS: 1.0, Phase.COMPUTE: 3.0})
    assert times.worked_s == 4.0


def times_of(store: Store, key: str) -> StageTimings:
    times = timings_in(store.stages.stored(key) or {})
    assert times is not None
    return times


def test_a_result_says_where_its_seconds_went(resolved: Resolved, store: Store) -> None:
    spec = prune_spec(resolved.cells[0], resolved.study, LAYERS)
    asked, begun = time.time() - 5.0, time.monotonic()
    assert run_task(StageTask(spec, store.uri, attempt="mine", asked=asked)) is None
    took_s = time.monotonic() - begun
    times = times_of(store, spec.key)
    assert (times.asked, times.attempt) == (round(asked, 3), "mine")
    assert times.seconds.keys() == set(Phase)
    assert times.seconds["start"] == pytest.approx(5.0, abs=0.5)
    assert times.worked_s <= took_s
    assert min(times.seconds["load"], times.seconds["save"], times.seconds["compute"]) > 0
    assert times.asked < times.began < times.ended <= time.time()


def test_an_evaluation_tells_loading_from_computing(
    resolved: Resolved, store: Store, run: RunStage
) -> None:
    prune = prune_spec(resolved.cells[0], resolved.study, LAYERS)
    spec = evaluate_spec(resolved.cells[0], resolved.study, LAYERS)
    assert run(prune) is None
    assert run(spec) is None
    seconds = times_of(store, spec.key).seconds
    assert seconds["load"] > 0
    assert seconds["compute"] > 0
    assert "save" not in seconds


def test_each_round_says_it_of_its_attempt_up_to_then(
    resolved: Resolved, store: Store, run: RunStage
) -> None:
    spec = ranking_spec(resolved.cells[0], resolved.study, depth=2)
    assert run(spec) is None
    folder = Path(store.stages.uri(spec.key), "rounds")
    rounds = [json.loads((folder / f"{number:03d}.json").read_text()) for number in range(2)]
    first, second = (timings_in(stored) for stored in rounds)
    assert first
    assert second
    assert first.attempt == second.attempt
    assert first.worked_s <= second.worked_s
    assert first.ended <= second.ended


def test_what_it_took_is_no_part_of_what_is_read(
    resolved: Resolved, store: Store, run: RunStage
) -> None:
    """Two results differ by their records alone."""
    spec = prune_spec(resolved.cells[0], resolved.study, LAYERS)
    assert run(spec) is None
    assert "timings" not in (store.stages.result(spec.key) or {})


def test_an_order_that_looks_at_nothing_imports_no_model(resolved: Resolved) -> None:
    spec = ranking_spec(resolved.cells[1], resolved.study)
    assert libraries_of(spec) == ("trsp.selection",)


@pytest.mark.parametrize("config", ["{}", "[", '{"model_type": "unheard_of"}'])
def test_a_model_that_cannot_be_read_is_no_matter_of_imports(
    resolved: Resolved, tmp_path: Path, config: str
) -> None:
    """Loading it says so, in words."""
    (tmp_path / "config.json").write_text(config)
    spec = prune_spec(resolved.cells[0], resolved.study, LAYERS)
    import_libraries(replace(spec, locations={"model": {"source": str(tmp_path)}}))
