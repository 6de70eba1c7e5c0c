"""The map of removed layers: which squares are marked, by what number and what colour."""

from pathlib import Path

import pytest
from matplotlib.axes import Axes

from orchestrator.pictures.layer_map import removed_layers
from orchestrator.views.grid_view import GridView
from tests.orchestrator import sample_views as sample


def steps(axes: Axes) -> list[list[int]]:
    """Return rows x layers: 0 where a layer stays, else the number of the ratio that takes it."""
    return [[int(step) for step in row] for row in axes.collections[0].get_array()]


def test_a_layer_is_numbered_by_when_it_goes(tmp_path: Path) -> None:
    (axes,) = removed_layers(sample.finished(tmp_path)).axes
    numbers = {text.get_position(): text.get_text() for text in axes.texts}
    first_row = [numbers.get((layer, 0), "") for layer in sample.ORDER]
    assert first_row == ["1", "2", "3", "4"]


def test_a_layer_is_coloured_by_the_smallest_ratio_that_takes_it(tmp_path: Path) -> None:
    view = sample.finished(tmp_path)
    (axes,) = removed_layers(view).axes
    ratios = sorted({cell.cell.ratio for cell in view.cells})
    fewest = min(cell.cell.removed for cell in view.cells)
    row = steps(axes)[0]
    assert [row[layer] for layer in sample.ORDER[:fewest]] == [1] * fewest
    assert row[sample.ORDER[-1]] == len(ratios)
    assert sum(step > 0 for step in row) == len(sample.ORDER)


def test_a_ranking_that_is_not_done_says_how_far_it_is() -> None:
    view = sample.grid_view(tuple(sample.waiting(cell) for cell in sample.cells()), 2)
    (axes,) = removed_layers(view).axes
    assert "gates l1=0.001 (2 of 4)" in [label.get_text() for label in axes.get_yticklabels()]


def test_nothing_is_drawn_before_a_layer_is_ranked() -> None:
    with pytest.raises(ValueError, match="no layer is ranked yet"):
        removed_layers(GridView("grid-0", "g", (), (), ()))
