"""How a grid's view ends: concluded by what its parts came to, or killed with its driver."""

from dataclasses import replace
from pathlib import Path

from orchestrator.views.grid_view import GridView, Status, concluded, killed
from tests.orchestrator import sample_views


def with_statuses(view: GridView, *statuses: Status) -> GridView:
    """The view with its first cells at these statuses, for a reason of their own."""
    cells = list(view.cells)
    for index, status in enumerate(statuses):
        cells[index] = replace(cells[index], status=status, reason="its own")
    return replace(view, cells=tuple(cells), status=Status.RUNNING)


def test_a_grid_runs_on_while_a_part_is_not_over(tmp_path: Path) -> None:
    view = with_statuses(sample_views.finished(tmp_path), Status.FAILED, Status.WAITING)
    assert concluded(view) == view


def test_a_grid_is_done_or_has_failed_with_its_parts(tmp_path: Path) -> None:
    finished = sample_views.finished(tmp_path)
    assert concluded(with_statuses(finished)).status is Status.DONE
    failed = concluded(with_statuses(finished, Status.FAILED))
    assert (failed.status, failed.reason) == (Status.FAILED, "1 of 7 failed")


def test_what_is_over_stays_when_a_grid_is_killed(tmp_path: Path) -> None:
    over = (Status.DONE, Status.FAILED, Status.KILLED)
    view = with_statuses(sample_views.finished(tmp_path), *over, Status.RUNNING, Status.WAITING)
    ended = killed(view, "stopped by SIGTERM")
    assert (ended.status, ended.reason) == (Status.KILLED, "stopped by SIGTERM")
    assert ended.cells[:3] == view.cells[:3]
    assert [(cell.status, cell.reason) for cell in ended.cells[3:5]] == [
        (Status.KILLED, "stopped by SIGTERM")
    ] * 2
    assert (ended.rankings, ended.dense) == (view.rankings, view.dense), "they were done"


def test_all_that_runs_is_killed_with_its_grid() -> None:
    cells = tuple(sample_views.waiting(cell) for cell in sample_views.cells())
    ended = killed(sample_views.grid_view(cells, rounds=1), "stopped")
    unfinished = [ranking for ranking in ended.rankings if ranking.selector == "gates"]
    assert {part.status for part in (*ended.cells, *unfinished)} == {Status.KILLED}
    assert killed(ended, "another reason") == ended


def test_a_reference_has_its_numbers_by_the_names_of_its_cells() -> None:
    metrics = sample_views.dense_view().metrics()
    assert metrics["params"] == 1_500_000
    assert metrics["perplexity/wiki"] == sample_views.DENSE_PPL
    assert sample_views.dense_view(Status.WAITING).metrics() == {}
