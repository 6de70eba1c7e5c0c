"""Pareto fronts as drawn: where cells, letters, limits and the reference stand."""

from pathlib import Path

import pytest
from matplotlib.axes import Axes

from orchestrator.grid.budgets import Budget
from orchestrator.pictures.fronts import pareto_front
from orchestrator.pictures.output import svg
from tests.orchestrator import sample_views as sample
from tests.orchestrator.large_views import MODELS, large_view

METRIC = "perplexity/wiki"


def written(axes: Axes) -> list[str]:
    """Return the texts within a panel."""
    return [text.get_text() for text in axes.texts]


def tips(picture: str) -> list[str]:
    return [line for line in picture.splitlines() if "<title>" in line]


def test_every_cell_shows_its_name_and_score_under_the_mouse(tmp_path: Path) -> None:
    view = sample.finished(tmp_path)
    shown = "\n".join(tips(svg(pareto_front(view, "params", METRIC))))
    for cell in view.cells:
        assert f"{cell.cell.name}: {cell.metrics()[METRIC]:.4g}" in shown


def test_a_score_has_its_standard_error(tmp_path: Path) -> None:
    view = sample.finished(tmp_path)
    (axes,) = pareto_front(view, "params", METRIC).axes
    heights = [
        abs(segment[1][1] - segment[0][1])
        for bars in axes.collections
        for segment in bars.get_segments()
    ]
    errors = [cell.evaluation.scores[METRIC].stderr for cell in view.cells if cell.evaluation]
    assert sorted(heights) == pytest.approx(sorted(2 * (each or 0) for each in errors))


def test_cells_of_one_size_stand_side_by_side(tmp_path: Path) -> None:
    view = sample.finished(tmp_path)
    (axes,) = pareto_front(view, "params", METRIC).axes
    sizes = {cell.metrics()["params"] for cell in view.cells}
    marks = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert len(sizes) < len(view.cells)
    assert len(set(marks)) == len(view.cells) + 1, "and the unpruned model"


def test_a_limit_near_the_cells_is_drawn_and_one_far_off_is_not(tmp_path: Path) -> None:
    view = sample.finished(tmp_path)
    budgets = (Budget(max_params=1_300_000), Budget(max_params=10**9), Budget(max_bytes=10**6))
    (axes,) = pareto_front(view, "params", METRIC, budgets).axes
    assert [text.strip() for text in written(axes) if "≤" in text] == ["≤ 1.3"]


def test_each_model_has_a_panel_and_its_own_front() -> None:
    figure = pareto_front(large_view(), "params", METRIC)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(MODELS)
    letters = [text for axes in figure.axes for text in written(axes)]
    assert letters == list("ABCDEFGHIJ"), "no letter twice, none left out"


def test_nothing_is_drawn_where_no_cell_has_both_numbers() -> None:
    view = sample.grid_view(tuple(sample.waiting(cell) for cell in sample.cells()), 1)
    with pytest.raises(ValueError, match="no cell has both params and perplexity/wiki"):
        pareto_front(view, "params", METRIC)
