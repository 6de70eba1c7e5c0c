"""Quality by ratio: which cells a method's line goes through."""

from dataclasses import replace

import pytest

from orchestrator.grid.cells import Cell
from orchestrator.pictures.ratios import quality_by_ratio
from orchestrator.views.grid_view import CellView, GridView, Status
from tests.orchestrator.sample_grids import model
from trsp.config import DriftSettings, RandomSettings
from trsp.records import EvaluationRecord, Score

METRIC = "perplexity/wiki"


def cell(ratio: float, perplexity: float, drift: float = 0.1, seed: int = 0) -> CellView:
    made = Cell(model(), RandomSettings(), ratio, None, DriftSettings(), drift, seed)
    scores = {METRIC: Score(value=perplexity, stderr=2.0)}
    return CellView(made, "rank-0", Status.DONE, evaluation=EvaluationRecord(scores=scores))


def line(*cells: CellView) -> tuple[list[float], list[float]]:
    """Return the ratios (in percent) and the values of the one line drawn for these cells."""
    view = GridView("grid-0", "g", tuple(cells), (), ())
    (axes,) = quality_by_ratio(view, METRIC).axes
    (drawn,) = [each for each in axes.lines if each.get_linestyle() != "None"]
    return list(drawn.get_xdata()), list(drawn.get_ydata())


def test_a_line_goes_from_the_smallest_ratio_to_the_largest() -> None:
    ratios, values = line(cell(0.5, 40), cell(0.1, 20), cell(0.2, 30))
    assert ratios == pytest.approx([10, 20, 50])
    assert values == [20, 30, 40]


def test_a_line_goes_through_the_best_strength() -> None:
    assert line(cell(0.1, 25, drift=0.1), cell(0.1, 20, drift=1.0))[1] == [20]


def test_seeds_count_by_their_mean_and_not_by_the_luckiest() -> None:
    assert line(cell(0.1, 20, seed=0), cell(0.1, 30, seed=1))[1] == [25]


def test_the_error_of_a_mean_is_that_of_a_mean() -> None:
    cells = [cell(0.1, 20, seed=seed) for seed in range(4)]
    (axes,) = quality_by_ratio(GridView("grid-0", "g", tuple(cells), (), ()), METRIC).axes
    (segment,) = axes.collections[0].get_segments()
    assert segment[1][1] - segment[0][1] == pytest.approx(2 * 2.0 / 2)


def test_nothing_is_drawn_where_no_cell_has_the_score() -> None:
    unscored = replace(cell(0.1, 20), evaluation=None)
    with pytest.raises(ValueError, match="no cell has perplexity/wiki"):
        quality_by_ratio(GridView("grid-0", "g", (unscored,), (), ()), METRIC)
