"""Figures of a ranking."""

from orchestrator.pictures.gates import heatmap_rows
from orchestrator.views.grid_view import Status
from tests.orchestrator import sample_views as sample


def test_heatmap_has_a_row_a_round_and_holes_where_layers_are_gone() -> None:
    rows = heatmap_rows(sample.ranking_view("gates", 1e-3, 3, Status.RUNNING, ()))
    assert [len(row) for row in rows] == [sample.LAYERS] * 3
    gone = [[layer for layer, value in enumerate(row) if value != value] for row in rows]
    assert gone == [[], [7], [3, 7]]
