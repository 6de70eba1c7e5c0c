"""What a projection costs: requests follow what changed, not how large the grid is."""

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.grid.cells import Cell
from orchestrator.tracking.tracker import ARTIFACTS_EVERY_S, MlflowTracker
from orchestrator.views.grid_view import CellView, GridView, Status
from tests.orchestrator import sample_views as sample
from tests.orchestrator.small_views import small_story
from tests.orchestrator.tracking.reading import EXPERIMENT, all_runs, table
from tests.orchestrator.tracking.requests import counted, writes


def many(count: int) -> tuple[Cell, ...]:
    return tuple(replace(sample.cells()[0], seed=seed) for seed in range(count))


def at_work(views: tuple[CellView, ...], running: int) -> GridView:
    """The grid while one of its cells runs and the others wait."""
    cells = list(views)
    cells[running] = replace(
        cells[running], status=Status.RUNNING, stage="transfer", layers=sample.ORDER[:2]
    )
    return sample.grid_view(tuple(cells), 0)


def cost_of_one_change(uri: str, cells: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The calls by which it is written that one cell waits again, and another begins."""
    waiting = tuple(sample.waiting(cell) for cell in many(cells))
    tracker = MlflowTracker(uri, f"{EXPERIMENT} {cells}")
    tracker.project(at_work(waiting, 0))
    with monkeypatch.context() as patch:
        calls = counted(patch)
        tracker.project(at_work(waiting, 1))
    assert not tracker.behind
    return calls


def test_a_change_of_one_cell_costs_the_same_in_a_large_grid(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cells that run before and after, and the grid's own run: nothing else is asked."""
    small = cost_of_one_change(uri, 3, monkeypatch)
    large = cost_of_one_change(uri, 300, monkeypatch)
    assert large == small
    assert sum(large.values()) <= 6


def test_a_view_that_says_the_same_asks_nothing(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MlflowTracker(uri, EXPERIMENT)
    view = small_story(tmp_path / "store")[2]
    tracker.project(view)
    assert not tracker.behind
    calls = counted(monkeypatch)
    tracker.project(view)
    tracker.project(replace(view))
    assert calls == Counter()


def test_a_cell_that_ends_is_written_in_one_batch(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = small_story(tmp_path / "store")
    tracker = MlflowTracker(uri, EXPERIMENT)
    tracker.project(story[1])
    with monkeypatch.context() as patch:
        calls = counted(patch)
        tracker.project(story[2])
    assert not tracker.behind
    assert calls["log_batch"] == 3, "its own, the grid's, and that of the cell that begins"


def cells_table(uri: str, folder: Path) -> list[str]:
    """The statuses of the cells by the grid's table."""
    rows = table(uri, all_runs(uri)["grid", "sample"], "cells.json", folder)["data"]
    return [row[1] for row in rows]


def test_a_running_grids_table_is_written_once_in_a_while_and_at_the_end(
    uri: str, tmp_path: Path
) -> None:
    story = small_story(tmp_path / "store")
    tracker = MlflowTracker(uri, EXPERIMENT)
    tracker.project(story[1])
    tracker.project(story[2])
    assert cells_table(uri, tmp_path) == ["running", "waiting"]
    tracker.finish(story[2])
    assert cells_table(uri, tmp_path) == ["done", "killed"]


def test_a_table_that_had_to_wait_is_written_when_its_time_has_come(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = small_story(tmp_path / "store")
    tracker = MlflowTracker(uri, EXPERIMENT)
    tracker.project(story[1])
    tracker.project(story[2])
    later = time.monotonic() + ARTIFACTS_EVERY_S
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: later)
        tracker.project(story[2])
    assert cells_table(uri, tmp_path) == ["done", "running"]


def test_nothing_is_written_at_an_end_that_was_written_before(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = small_story(tmp_path / "store")[-1]
    MlflowTracker(uri, EXPERIMENT).finish(done)
    tracker = MlflowTracker(uri, EXPERIMENT)
    calls = counted(monkeypatch)
    tracker.finish(done)
    assert writes(calls) == Counter(set_tag=1), "that the driver lives"
