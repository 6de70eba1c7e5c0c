"""The tracker on a real database: a grid's life in MLflow, again and again, and after a crash."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.tracking.content.describe import closed
from orchestrator.tracking.tracker import MlflowTracker, check
from tests.orchestrator import sample_views as sample
from tests.orchestrator.tracking.reading import (
    EXPERIMENT,
    all_runs,
    cell_run,
    client_of,
    contents,
    statuses,
)

WRITES = (
    "log_batch",
    "log_artifact",
    "set_terminated",
    "create_run",
    "create_model_version",
    "log_outputs",
)


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
    ranking = all_runs(uri)["rank", "Tiny-1.5M gates l1=0.005 ranking"]
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
    writes: list[str] = []
    for method in WRITES:
        monkeypatch.setattr(
            MlflowClient, method, lambda *_, method=method, **__: writes.append(method)
        )
    tracker.project(closed(done))
    MlflowTracker(uri, EXPERIMENT).project(done)
    assert writes == []


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


def test_runs_of_killed_drivers_are_swept_and_those_of_living_ones_are_not(
    uri: str, tmp_path: Path
) -> None:
    running = sample.story(tmp_path / "store")[5]
    tracker = MlflowTracker(uri, EXPERIMENT)
    tracker.project(running)
    assert tracker.sweep() == 0, "its driver was heard of a moment ago"
    assert tracker.sweep(alive_grids=[running.key], silent_s=-1) == 0
    open_runs = sum(run.info.status == "RUNNING" for run in all_runs(uri).values())
    assert tracker.sweep(silent_s=-1) == open_runs > 0
    swept = all_runs(uri)["grid", "sample"]
    assert (swept.info.status, swept.data.tags["trsp.reason"]) == ("KILLED", "its job was killed")
