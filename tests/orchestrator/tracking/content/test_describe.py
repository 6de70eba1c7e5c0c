"""The runs that a view asks for."""

from pathlib import Path

from orchestrator.tracking.content.describe import closed
from orchestrator.views.grid_view import Status
from tests.orchestrator import sample_views as sample


def test_closing_a_view_kills_what_is_not_over(tmp_path: Path) -> None:
    view = closed(sample.story(tmp_path)[8])
    assert {cell.status for cell in view.cells} == {Status.DONE, Status.KILLED}
    assert view.status is Status.KILLED
    assert all(cell.reason for cell in view.cells if cell.status is Status.KILLED)
