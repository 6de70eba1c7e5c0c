"""Two drivers of one grid on one MLflow: what each writes, and that neither harms the other.

Two trackers take turns here; real drivers are in tests/integration.
"""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.tracking import tracker as tracker_module
from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.grid_view import Status
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


class Turns:
    """The turn of several trackers, as a store would keep it."""

    def __init__(self) -> None:
        self.taken_by = ""

    def of(self, name: str) -> "OneTurn":
        return OneTurn(self, name)


class OneTurn:
    """The turn of one of them."""

    def __init__(self, turns: Turns, name: str) -> None:
        self._turns, self._name = turns, name

    def holder(self) -> str:
        self._turns.taken_by = self._turns.taken_by or self._name
        return "" if self._turns.taken_by == self._name else self._turns.taken_by

    def release(self) -> None:
        if self._turns.taken_by == self._name:
            self._turns.taken_by = ""


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_module, "FINISH_PAUSE_S", 0.01)
    monkeypatch.setattr(tracker_module, "WRITER_WAIT_S", 0.05)


def untied(uri: str) -> tuple[MlflowTracker, MlflowTracker]:
    """The trackers of two drivers that know nothing of each other, for their stores are two."""
    first, second = (MlflowTracker(uri, EXPERIMENT, retry_s=0) for _ in range(2))
    return first, second


def test_two_that_both_write_lose_nothing_and_leave_the_same(
    uri: str, empty_database: Path, tmp_path: Path
) -> None:
    """Each deletes tags that the other has deleted, and closes what the other has closed."""
    waits, runs, goes_on, done = small_story(tmp_path / "store")
    first, second = untied(uri)
    for behind, now in ((waits, runs), (runs, goes_on)):
        first.project(now)
        second.project(behind)
    first.finish(done)
    second.finish(done)
    shutil.copy(empty_database, tmp_path / "quiet.db")
    MlflowTracker(f"sqlite:///{tmp_path}/quiet.db", EXPERIMENT).finish(done)
    both, quiet = contents(uri), contents(f"sqlite:///{tmp_path}/quiet.db")
    assert both.keys() == quiet.keys()
    for name in quiet:
        assert both[name] == quiet[name], name


def test_of_two_runs_made_at_once_for_one_cell_the_older_stays(uri: str, tmp_path: Path) -> None:
    story = small_story(tmp_path / "store")
    first, second = untied(uri)
    for tracker in (first, second):
        tracker.project(story[0])
    for tracker in (first, second):
        tracker.project(story[1])
    experiment, cell = first.experiment_id, f"tags.`trsp.cell` = '{story[1].cells[0].cell.key}'"
    twins = client_of(uri).search_runs([experiment], cell, order_by=["start_time ASC"])
    assert len(twins) == 2
    for tracker in (second, first):
        tracker.finish(story[1])
    left = cell_run(all_runs(uri), story[1], 0)
    assert left.info.run_id == twins[0].info.run_id
    assert left.info.status == "KILLED"


def test_a_twin_that_a_busy_server_does_not_delete_at_once_is_deleted_later(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = small_story(tmp_path / "store")
    first, second = untied(uri)
    for view in story[:2]:
        for tracker in (first, second):
            tracker.project(view)
    delete, refused = MlflowClient.delete_run, []

    def busy_at_first(client: MlflowClient, run_id: str) -> None:
        if run_id not in refused:
            refused.append(run_id)
            raise MlflowException("database is locked")
        delete(client, run_id)

    monkeypatch.setattr(MlflowClient, "delete_run", busy_at_first)
    second.finish(story[1])
    assert refused
    tags = [run.data.tags for run in client_of(uri).search_runs([first.experiment_id])]
    parts = Counter((of_run["trsp.kind"], of_run[f"trsp.{of_run['trsp.kind']}"]) for of_run in tags)
    assert set(parts.values()) == {1}


def test_a_run_that_somebody_deleted_keeps_no_other_from_being_written(
    uri: str, tmp_path: Path
) -> None:
    story = small_story(tmp_path / "store")
    tracker, _ = untied(uri)
    tracker.project(story[1])
    client_of(uri).delete_run(cell_run(all_runs(uri), story[1], 0).info.run_id)
    tracker.project(story[2])
    assert tracker.behind
    assert "active" in tracker.trouble
    assert cell_run(all_runs(uri), story[2], 1).info.status == "RUNNING"
    tracker.project(story[2])
    assert not tracker.behind
    assert cell_run(all_runs(uri), story[2], 0).info.status == "FINISHED"


def test_one_of_two_writes_and_the_other_takes_over_when_it_ends(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story, turns = small_story(tmp_path / "store"), Turns()
    first, second = (MlflowTracker(uri, EXPERIMENT, turn=turns.of(name)) for name in "AB")
    first.project(story[1])
    with monkeypatch.context() as patch:
        calls = counted(patch)
        second.project(story[1])
        assert calls == Counter()
    assert (second.writer, second.behind) == ("A", False)
    first.finish(story[1])
    assert statuses(uri) == {"FINISHED", "KILLED"}, "the unpruned model is done"
    before = {name: run.info.run_id for name, run in all_runs(uri).items()}
    first.close()
    second.project(story[1])
    assert second.writer == ""
    assert cell_run(all_runs(uri), story[1], 0).info.status == "RUNNING"
    assert {name: run.info.run_id for name, run in all_runs(uri).items()} == before


def test_one_that_was_away_writes_on_from_what_the_other_has_left(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was paused for so long that the other took its turn and came to the end."""
    story, turns = small_story(tmp_path / "store"), Turns()
    first, second = (MlflowTracker(uri, EXPERIMENT, turn=turns.of(name)) for name in "AB")
    first.project(story[1])
    turns.taken_by = ""
    second.finish(story[3])
    second.close()
    calls = counted(monkeypatch)
    first.finish(story[3])
    assert writes(calls)["log_batch"] == 0
    assert "RUNNING" not in statuses(uri)


def test_a_driver_that_ends_leaves_mlflow_to_the_one_that_writes(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story, turns = small_story(tmp_path / "store"), Turns()
    first, second = (MlflowTracker(uri, EXPERIMENT, turn=turns.of(name)) for name in "AB")
    first.project(story[1])
    calls = counted(monkeypatch)
    second.finish(replace(story[3], status=Status.KILLED, reason="stopped by SIGTERM"))
    assert calls == Counter()
    assert second.writer == "A"


def test_two_that_want_the_same_new_experiment_both_get_it(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = MlflowTracker(uri, EXPERIMENT)
    client = type(client_of(uri))
    answers = [None, client_of(uri).get_experiment_by_name(EXPERIMENT)]
    monkeypatch.setattr(client, "get_experiment_by_name", lambda *_: answers.pop(0))
    assert MlflowTracker(uri, EXPERIMENT).experiment_id == first.experiment_id
