"""The report among the artifacts of a grid's run: once the grid is over, when it is new."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.tracking.content.describe_grid import grid_state
from orchestrator.tracking.content.states import Artifact
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator.report.page.views import asked, finished


def report_of(view: GridView) -> Artifact | None:
    found = [each for each in grid_state(view).artifacts if each.path == "report.html"]
    return found[0] if found else None


@pytest.mark.parametrize(
    ("status", "there"),
    [(Status.DONE, True), (Status.FAILED, True), (Status.RUNNING, False), (Status.KILLED, False)],
)
def test_a_grid_has_a_report_once_it_is_over(tmp_path: Path, status: Status, there: bool) -> None:
    view = replace(finished(tmp_path), status=status)
    assert (report_of(view) is not None) == there


def test_the_report_is_a_page(tmp_path: Path) -> None:
    artifact = report_of(finished(tmp_path))
    assert artifact is not None
    artifact.write(tmp_path / "report.html")
    assert "<h1>sample</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_report_that_would_say_the_same_is_not_written_again(tmp_path: Path) -> None:
    first, second = (report_of(finished(tmp_path)) for _ in range(2))
    assert first
    assert second
    assert first.version() == second.version()


def test_a_report_is_written_again_where_a_score_has_changed(tmp_path: Path) -> None:
    view = finished(tmp_path)
    fewer = replace(view, cells=(replace(view.cells[0], evaluation=None), *view.cells[1:]))
    before, after = report_of(view), report_of(asked(fewer))
    assert before
    assert after
    assert before.version() != after.version()
