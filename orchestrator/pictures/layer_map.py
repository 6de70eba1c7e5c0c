"""Which layers each method removes, in which order, and at which ratio."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from orchestrator.grid.cells import Cell
from orchestrator.grid.shorthand import as_written
from orchestrator.pictures.theme import LIGHT, in_style, new_figure
from orchestrator.views.grid_view import GridView, RankingView

_MOST_ROWS = 30  # rankings of a model; a page has no more room
_MOST_NUMBERED = 48  # layers of a model up to which the squares hold numbers
_MOST_TICKS = 32  # layers of a model up to which each has its number below
_ROW_IN, _HEAD_IN, _KEY_IN = 0.22, 0.75, 0.35
_SHADES = "viridis"  # grows evenly lighter, also for the colour-blind
_PALE, _BLACK = "#fdfdfd", "#000000"  # numbers, on dark and on light squares of either paper


class _Square(NamedTuple):
    """A layer that goes. ``place``: 1 goes first; ``step``: at which of the grid's ratios."""

    row: int
    layer: int
    place: int
    step: int


@in_style
def removed_layers(view: GridView) -> Figure:
    """Return a map of rankings x layers, a panel per model.

    A square is a layer that a cell removes: its number says when (1 goes first), its colour the
    smallest ratio at which it is gone. A cell takes the first layers of its ranking, so a row
    stands for all cells that share one. Raises ValueError while nothing is ranked.
    """
    models = _models(view)
    if not models:
        raise ValueError(f"{view.name}: no layer is ranked yet")
    cells = {each.cell.key: each.cell for each in view.cells}
    ratios = sorted({cell.ratio for cell in cells.values()})
    heights = [min(len(rows), _MOST_ROWS) * _ROW_IN + _HEAD_IN for rows in models.values()]
    figure = new_figure(sum(heights) + _KEY_IN)
    panels = figure.subplots(len(models), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (model, rankings) in zip(panels, models.items(), strict=True):
        _draw(panel, rankings[:_MOST_ROWS], cells, ratios)
        more = len(rankings) - _MOST_ROWS
        panel.set_title(f"{model}{f' (and {more} more rankings)' if more > 0 else ''}")
    _draw_key(figure, ratios)
    return figure


def _models(view: GridView) -> dict[str, list[RankingView]]:
    """Return the rankings that have begun, by model."""
    models: dict[str, list[RankingView]] = {}
    for ranking in view.rankings:
        if ranking.rounds:
            models.setdefault(ranking.model, []).append(ranking)
    return models


def _squares(
    rankings: Sequence[RankingView], cells: Mapping[str, Cell], ratios: Sequence[float]
) -> Iterator[_Square]:
    for row, ranking in enumerate(rankings):
        users = sorted((cells[key] for key in ranking.cells), key=lambda cell: cell.ratio)
        for place, layer in enumerate(ranking.order, start=1):
            ratio = next((cell.ratio for cell in users if place <= cell.removed), None)
            if ratio is not None:  # a ranking may go deeper than this grid needs
                yield _Square(row, layer, place, ratios.index(ratio))


def _draw(
    panel: Axes,
    rankings: Sequence[RankingView],
    cells: Mapping[str, Cell],
    ratios: Sequence[float],
) -> None:
    layers = cells[rankings[0].cells[0]].model.layers
    steps = [[0] * layers for _ in rankings]  # 0: stays
    for square in _squares(rankings, cells, ratios):
        steps[square.row][square.layer] = 1 + square.step
        if layers <= _MOST_NUMBERED:
            _write_place(panel, square, len(ratios))
    shades = [LIGHT["line"], *(_shade(step, len(ratios)) for step in range(len(ratios)))]
    colours = ListedColormap(shades)
    look: dict[str, Any] = {
        "edgecolors": LIGHT["paper"],
        "linewidth": 1.5,
        "vmin": 0,
        "vmax": len(ratios),
    }
    panel.pcolormesh(range(layers), range(len(rankings)), steps, cmap=colours, **look)
    _label(panel, layers, rankings)


def _write_place(panel: Axes, square: _Square, steps: int) -> None:
    panel.text(
        square.layer,
        square.row,
        str(square.place),
        ha="center",
        va="center_baseline",
        fontsize=6.5,
        in_layout=False,
        color=_BLACK if square.step >= 0.6 * (steps - 1) > 0 else _PALE,
    )


def _label(panel: Axes, layers: int, rankings: Sequence[RankingView]) -> None:
    panel.grid(visible=False)
    panel.invert_yaxis()
    panel.set_xticks(range(0, layers, 1 if layers <= _MOST_TICKS else 4))
    panel.set_yticks(range(len(rankings)), [_name(ranking) for ranking in rankings])
    panel.tick_params(labelsize=7, length=0)
    panel.set_xlabel("layer (0-based, original model)", fontsize=8)
    panel.spines[:].set_visible(False)


def _draw_key(figure: Figure, ratios: Sequence[float]) -> None:
    handles = [
        Patch(color=_shade(step, len(ratios)), label=as_written(ratio))
        for step, ratio in enumerate(ratios)
    ]
    figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=min(len(handles), 10),
        title="removed from this ratio on",
        alignment="left",
        title_fontsize=8,
    )


def _shade(step: int, steps: int) -> str:
    """Return the colour of one of so many steps, from dark to light."""
    return str(to_hex(colormaps[_SHADES](0.08 + 0.84 * step / max(1, steps - 1))))


def _name(ranking: RankingView) -> str:
    """Return ``gates l1=0.005 seed=1 (3 of 6)``: the latter while it is not done."""
    parts = [ranking.selector]
    if ranking.gate_l1 is not None:
        parts.append(f"l1={ranking.gate_l1:g}")
    if ranking.seed:
        parts.append(f"seed={ranking.seed}")
    if len(ranking.rounds) < ranking.depth:
        parts.append(f"({len(ranking.rounds)} of {ranking.depth})")
    return " ".join(parts)
