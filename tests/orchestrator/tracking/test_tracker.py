"""The tracker on a real database: a grid's life in MLflow, again and again, and after a crash."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.tracking import projection
from orchestrator.tracking.content.describe import closed
from orchestrator.tracking.runs import RunWriter
from orchestrator.tracking.tracker import MlflowTracker, check
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator import sample_views as sample
from tests.orchestrator.small_views import small_story
from tests.orchestrator.tracking.reading import (
    EXPERIMENT,
    all_runs,
    cell_run,
    client_of,
    contents,
    statuses,
)
from tests.orchestrator.tracking.requests import counted, writes


def test_a_grid_grows(uri: str, tmp_path: Path) -> None:
    tracker = MlflowTracker(uri, EXPERIMENT)
    story = sample.story(tmp_path / "store")
    tracker.project(story[0])
    runs = all_runs(uri)
    assert not tracker.behind
    assert not [name for kind, name in runs if kind == "cell"], "no run before a cell's work begins"
    assert runs["grid", "sample"].info.status == "RUNNING"

    for view in story[1:3]:
        tracker.project(view)
    ranking = all_runs(uri)["rank", "gates l1=5e-3 ranking"]
    assert ranking.info.status == "RUNNING"
    assert ranking.data.tags["trsp.order"] == "7, 3"


def test_a_grid_ends(uri: str, tmp_path: Path) -> None:
    facts = {"submission_id": "raysubmit_1", "git_sha": "abc123"}
    tracker = MlflowTracker(uri, EXPERIMENT, facts=facts)
    story = sample.story(tmp_path / "store")
    for view in story:
        tracker.project(view)
    tracker.finish(story[-1])
    runs = all_runs(uri)
    kinds = [kind for kind, _ in runs]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {"grid": 1, "rank": 3, "dense": 1, "cell": 6}
    assert all(run.data.tags["trsp.git_sha"] == "abc123" for run in runs.values())
    parent = runs.pop(("grid", "sample"))
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    failed = cell_run(runs, story[-1], -1)
    assert failed.info.status == "FAILED"
    assert failed.data.tags["trsp.reason"] == "the text is too short"
    assert parent.info.status == "FAILED"
    assert parent.data.tags["trsp.reason"] == "1 of 6 cells failed"
    assert [run.info.status for run in runs.values() if run is not failed] == ["FINISHED"] * 9


@pytest.mark.slow
def test_nothing_is_written_twice(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Growth with a new process at every moment and a rebuild say the same."""
    story = sample.story(tmp_path / "store")
    done = sample.finished(tmp_path / "store")
    for view in (*story, done):
        tracker = MlflowTracker(uri, EXPERIMENT)
        tracker.project(view)
    tracker.finish(done)
    grown = contents(uri)
    rebuilt = str(uri).replace("mlflow.db", "rebuilt.db")
    check(rebuilt)
    MlflowTracker(rebuilt, EXPERIMENT).finish(done)
    again = contents(rebuilt)
    assert grown.keys() == again.keys()
    for name in grown:
        assert grown[name] == again[name], name
    calls = counted(monkeypatch)
    tracker.project(closed(done))
    MlflowTracker(uri, EXPERIMENT).project(done)
    assert set(writes(calls)) <= {"set_tag"}, "that the driver lives"


@pytest.mark.slow
def test_a_crash_between_writing_and_remembering_leaves_no_duplicates(
    uri: str, tmp_path: Path
) -> None:
    done = sample.finished(tmp_path / "store")
    MlflowTracker(uri, EXPERIMENT).finish(done)
    before = contents(uri)
    client = client_of(uri)
    for run in all_runs(uri).values():
        client.delete_tag(run.info.run_id, "trsp.written")
    MlflowTracker(uri, EXPERIMENT).finish(done)
    after = contents(uri)
    assert before.keys() == after.keys()
    for name in before:
        if name[0] == "version":
            assert before[name] == after[name]
            continue
        curves = {key: points for key, points in before[name][3].items() if "by_" in key}
        assert {key: after[name][3][key] for key in curves} == curves
        assert after[name][:3] + after[name][4:] == before[name][:3] + before[name][4:]


def test_a_rerun_opens_the_same_runs_again(uri: str, tmp_path: Path) -> None:
    middle = sample.story(tmp_path / "store")[7]  # one cell done, one under way
    first = MlflowTracker(uri, EXPERIMENT)
    first.project(middle)
    first.finish(middle)
    stopped = all_runs(uri)
    assert statuses(uri) == {"FINISHED", "KILLED"}
    again = MlflowTracker(uri, EXPERIMENT)
    again.project(middle)
    running = all_runs(uri)
    assert {name: run.info.run_id for name, run in running.items()} == {
        name: run.info.run_id for name, run in stopped.items()
    }
    assert running["grid", "sample"].info.status == "RUNNING"
    again.finish(sample.finished(tmp_path / "store"))
    assert statuses(uri) == {"FINISHED"}


def placed(view: GridView, status: Status, reason: str) -> GridView:
    """The grid whose first cell stands like this, and its ranking with it."""
    cell = replace(view.cells[0], status=status, stage="transfer", reason=reason, layers=(7, 3))
    ranking = replace(view.rankings[0], status=status, reason=reason, rounds=())
    return replace(view, cells=(cell, *view.cells[1:]), rankings=(ranking, *view.rankings[1:]))


def test_a_stage_that_waits_for_its_place_in_the_cluster_has_no_running_run(
    uri: str, tmp_path: Path
) -> None:
    tracker, view = MlflowTracker(uri, EXPERIMENT), small_story(tmp_path / "store")[0]
    run_ids = ("cell", view.cells[0].cell.name), ("rank", f"{view.rankings[0].name} ranking")
    waits = "Ray has not placed it yet: it needs 8 GPUs; other jobs hold 56 of 64"
    tracker.project(placed(view, Status.WAITING, waits))
    runs = all_runs(uri)
    assert not any(id_ in runs for id_ in run_ids)
    tracker.project(placed(view, Status.RUNNING, ""))
    assert {all_runs(uri)[id_].info.status for id_ in run_ids} == {"RUNNING"}
    tracker.project(placed(view, Status.WAITING, waits))
    again = [all_runs(uri)[id_] for id_ in run_ids]
    assert {run.info.status for run in again} == {"SCHEDULED"}
    assert {run.data.tags["trsp.reason"] for run in again} == {waits}


def test_what_never_began_has_no_run_after_a_stop_but_what_failed_has(
    uri: str, tmp_path: Path
) -> None:
    waits = small_story(tmp_path / "store")[0]
    failed = replace(waits.cells[1], status=Status.FAILED, reason="no stage fits")
    view = replace(waits, cells=(waits.cells[0], failed))
    MlflowTracker(uri, EXPERIMENT).finish(view)
    assert [run.info.status for (kind, _), run in all_runs(uri).items() if kind == "cell"] == [
        "FAILED"
    ]


def test_what_began_just_before_a_stop_has_a_run(uri: str, tmp_path: Path) -> None:
    """MLflow was behind, so that it had none yet."""
    running = small_story(tmp_path / "store")[1]
    tracker = MlflowTracker(uri, EXPERIMENT, call_limit_s=-1)
    tracker.project(running)
    assert "cell" not in {kind for kind, _ in all_runs(uri)}
    tracker.finish(running)
    assert cell_run(all_runs(uri), running, 0).info.status == "KILLED"


def test_runs_of_killed_drivers_are_swept_and_those_of_living_ones_are_not(
    uri: str, tmp_path: Path
) -> None:
    running = sample.story(tmp_path / "store")[5]
    tracker = MlflowTracker(uri, EXPERIMENT)
    tracker.project(running)
    assert tracker.sweep() == 0, "its driver was heard of a moment ago"
    assert tracker.sweep(alive_grids=[running.key], silent_s=-1, watched_s=0) == 0
    open_runs = sum(run.info.status == "RUNNING" for run in all_runs(uri).values())
    assert tracker.sweep(silent_s=-1, watched_s=0) == open_runs > 0
    swept = all_runs(uri)["grid", "sample"]
    assert (swept.info.status, swept.data.tags["trsp.reason"]) == ("KILLED", "its job was killed")


def test_a_grid_whose_first_projection_is_cut_short_is_not_swept_by_another_driver(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow is slow, and after the grid's own run the time of the call is over."""
    now, write = [time.monotonic()], RunWriter.write

    def slow_write(*arguments: object) -> float | None:
        now[0] += 100
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(RunWriter, "write", slow_write)
    clock = SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    monkeypatch.setattr(projection, "time", clock)
    tracker = MlflowTracker(uri, EXPERIMENT)
    tracker.project(sample.story(tmp_path / "store")[5])
    assert tracker.behind
    assert list(all_runs(uri)) == [("grid", "sample")]
    assert MlflowTracker(uri, EXPERIMENT).sweep() == 0
