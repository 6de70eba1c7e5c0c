"""Whose weights stay once a grid is done."""

import shutil
from pathlib import Path

import pytest

from orchestrator.keeping.retention import drop_spare, keep_as_asked, spare_checkpoints
from orchestrator.report.choice_tables import gone_lines
from orchestrator.run import view_of
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator import sample_views as sample
from tests.orchestrator.fake_launcher import (
    FakeLauncher,
    controller_of,
    drive,
    resolved,
    store_of,
)
from tests.orchestrator.keeping.made_up import keep


def finished(folder: Path, database: Path, keeps: str = "best", **changes: object) -> Resolved:
    """A finished grid of several checkpoints of equal scores, of which the first is the best."""
    shutil.copy(database, folder / "mlflow.db")
    storage = {"store": str(folder / "store"), "keep": keeps}
    tracking = {"uri": f"sqlite:///{folder}/mlflow.db"}
    grid = resolved(folder, storage=storage, tracking=tracking, **changes)
    keep(grid)
    drive(controller_of(grid, FakeLauncher()))
    return grid


def checkpoints(grid: Resolved) -> set[str]:
    return {cell.stage_keys[StageKind.PRUNE] for cell in view_of(grid).cells}


def with_weights(grid: Resolved) -> set[str]:
    return {key for key in checkpoints(grid) if store_of(grid).stages.done(key)}


@pytest.fixture
def view(tmp_path: Path) -> GridView:
    """A finished grid with scores that differ."""
    return sample.finished(tmp_path / "store")


def test_a_grid_that_keeps_all_spares_nothing(view: GridView) -> None:
    assert spare_checkpoints(view, "all") == frozenset()


def test_the_front_holds_more_than_the_best(view: GridView) -> None:
    assert spare_checkpoints(view, "front") <= spare_checkpoints(view, "best")


def test_only_the_best_keeps_its_weights(tmp_path: Path, empty_database: Path) -> None:
    grid = finished(tmp_path, empty_database)
    said = keep_as_asked(store_of(grid), grid, view_of(grid))
    assert len(with_weights(grid)) == 1 < len(checkpoints(grid))
    assert "a run with keep: all makes them again" in said


def test_a_grid_whose_weights_went_is_done(tmp_path: Path, empty_database: Path) -> None:
    grid = finished(tmp_path, empty_database)
    keep_as_asked(store_of(grid), grid, view_of(grid))
    launcher = FakeLauncher()
    assert drive(controller_of(grid, launcher)).status is Status.DONE
    assert launcher.started == []


def test_with_keep_all_only_weights_are_made_again(tmp_path: Path, empty_database: Path) -> None:
    grid = finished(tmp_path, empty_database)
    keep_as_asked(store_of(grid), grid, view_of(grid))
    launcher = FakeLauncher()
    every = resolved(tmp_path)
    assert drive(controller_of(every, launcher)).status is Status.DONE
    assert set(launcher.started_kinds()) == {StageKind.TRANSFER, StageKind.PRUNE}
    assert with_weights(every) == checkpoints(every)


def test_scores_of_what_went_are_still_seen(tmp_path: Path, empty_database: Path) -> None:
    grid = finished(tmp_path, empty_database)
    keep_as_asked(store_of(grid), grid, view_of(grid))
    assert all(cell.metrics()["params"] == 100 for cell in view_of(grid).cells)


def test_a_cell_whose_weights_went_says_how_to_have_them_again(
    tmp_path: Path, empty_database: Path
) -> None:
    grid = finished(tmp_path, empty_database)
    keep_as_asked(store_of(grid), grid, view_of(grid))
    said = [len(list(gone_lines(cell))) for cell in view_of(grid).cells]
    kept = [c.stage_keys[StageKind.PRUNE] in with_weights(grid) for c in view_of(grid).cells]
    assert said == [int(not each) for each in kept]
    gone = view_of(grid).cells[said.index(1)]
    assert "storage: {keep: all}" in next(gone_lines(gone))


def test_what_an_alias_marks_keeps_its_weights(tmp_path: Path, empty_database: Path) -> None:
    grid = finished(tmp_path, empty_database)
    every = checkpoints(grid)
    assert drop_spare(store_of(grid), grid, view_of(grid), every) == 0


def test_what_another_grid_keeps_has_its_weights(tmp_path: Path, empty_database: Path) -> None:
    grid = finished(tmp_path, empty_database)
    keep(resolved(tmp_path, name="other"))
    keep_as_asked(store_of(grid), grid, view_of(grid))
    assert with_weights(grid) == checkpoints(grid)


def test_all_weights_stay_where_the_registry_gives_no_answer(
    tmp_path: Path, empty_database: Path
) -> None:
    grid = finished(tmp_path, empty_database)
    (tmp_path / "mlflow.db").unlink()
    assert "all weights stay for now" in keep_as_asked(store_of(grid), grid, view_of(grid))
    assert with_weights(grid) == checkpoints(grid)
