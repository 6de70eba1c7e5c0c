"""What a size or a time costs in quality: every cell of a grid, and those that nothing beats."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, product
from string import ascii_uppercase
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.grid.budgets import Budget
from orchestrator.pictures.methods import Methods, methods_of
from orchestrator.pictures.output import set_tip
from orchestrator.pictures.panels import frame
from orchestrator.pictures.quantities import (
    Scale,
    needs_log,
    quality_label,
    scale_of,
    side_by_side,
    standard_error,
)
from orchestrator.pictures.theme import LIGHT, in_style
from orchestrator.views.budget import pareto_front as front_of
from orchestrator.views.grid_view import CellView, DenseView, GridView
from trsp.records import lower_is_better

_CROWDED = 60  # cells of a panel from which on only those of the front have error bars
_MOST_NAMED = 6  # cells of a panel's front that have a letter
_NEAR = 0.03  # of an axis: letters nearer than this in both directions would hide each other
_LEEWAY = 0.25  # of the values' range, by which a limit may lie outside and still be shown
_BEST: Mapping[str, Any] = {"ms": 7, "mec": LIGHT["ink"], "mew": 1, "zorder": 4}
_BEATEN: Mapping[str, Any] = {"ms": 7, "mec": "none", "alpha": 0.65, "zorder": 3}
_CROWD: Mapping[str, Any] = {**_BEATEN, "ms": 4.5}


class _Front(NamedTuple):
    """What one panel shows: the cells of a model that have both numbers, and its reference."""

    cells: tuple[CellView, ...]
    best: tuple[CellView, ...]  # the front, from the cheapest up
    places: Mapping[str, tuple[float, float]]  # by a cell's key; equal sizes stand side by side
    named: Mapping[str, CellView]  # by letter
    dense: tuple[float, float] | None  # size and quality of the unpruned model


class _Axes(NamedTuple):
    """The two numbers of a picture, by name, and how the first is shown."""

    size: str
    metric: str
    scale: Scale

    def place(self, part: CellView | DenseView) -> tuple[float, float] | None:
        """Return where a cell or a reference stands; None where one of its numbers is missing."""
        metrics = part.metrics()
        if not {self.size, self.metric} <= metrics.keys():
            return None
        return metrics[self.size] / self.scale.divisor, metrics[self.metric]


@in_style
def pareto_front(view: GridView, size: str, metric: str, budgets: Sequence[Budget] = ()) -> Figure:
    """Return a figure of the cells by a size (or a time) and a score, the front of each model.

    Bars are standard errors, the star and the line are the unpruned model, dashed lines the limits
    of these budgets on the size. Cells of the front have letters, and their names stand below.
    Raises ValueError where no cell has both numbers.
    """
    cells = [cell for cell in view.cells if {size, metric} <= cell.metrics().keys()]
    if not cells:
        raise ValueError(f"{view.name}: no cell has both {size} and {metric}")
    scale = scale_of(size, (cell.metrics()[size] for cell in cells))
    axes = _Axes(size, metric, scale)
    fronts = _fronts(view, cells, axes)
    methods = methods_of(view.cells)
    names = [f"{letter}   {cell.cell.name}" for letter, cell in _named(fronts)]
    figure, panels = frame(list(fronts), [*methods.key(), _lines_of_key(fronts)], names)
    limits = [budget.limits[size] / scale.divisor for budget in budgets if size in budget.limits]
    for model, front in fronts.items():
        _draw(panels[model], front, axes, methods)
        _draw_limits(panels[model], front, limits)
    return figure


def _fronts(view: GridView, cells: Sequence[CellView], axes: _Axes) -> dict[str, _Front]:
    """Return what each model's panel shows; letters go on from one panel to the next."""
    letters = map("".join, chain(zip(ascii_uppercase), product(ascii_uppercase, repeat=2)))
    fronts: dict[str, _Front] = {}
    for model in dict.fromkeys(cell.cell.model.name for cell in cells):
        own = tuple(cell for cell in cells if cell.cell.model.name == model)
        best, places = front_of(own, axes.size, axes.metric), _places(own, axes)
        named = {next(letters): cell for cell in _apart(best, places)}
        dense = next((part for part in view.dense if part.model.name == model), None)
        fronts[model] = _Front(own, best, places, named, axes.place(dense) if dense else None)
    return fronts


def _places(cells: Sequence[CellView], axes: _Axes) -> dict[str, tuple[float, float]]:
    known = {cell.cell.key: place for cell in cells if (place := axes.place(cell))}
    sizes = side_by_side([x for x, _ in known.values()])
    return {key: (x, known[key][1]) for key, x in zip(known, sizes, strict=True)}


def _apart(best: Sequence[CellView], places: Mapping[str, tuple[float, float]]) -> list[CellView]:
    """Return the cells of a front that can have a letter each: not too many, not too near."""
    spans = [max(values) - min(values) or 1.0 for values in zip(*places.values(), strict=True)]

    def are_near(cell: CellView, other: CellView) -> bool:
        distances = zip(places[cell.cell.key], places[other.cell.key], spans, strict=True)
        return all(abs(here - there) < _NEAR * span for here, there, span in distances)

    chosen: list[CellView] = []
    for cell in best:
        if not any(are_near(cell, other) for other in chosen):
            chosen.append(cell)
    return chosen if len(chosen) <= _MOST_NAMED else _spread(chosen)


def _spread(cells: Sequence[CellView]) -> list[CellView]:
    """Return as many of these as may have letters, evenly, with the first and the last."""
    step = (len(cells) - 1) / (_MOST_NAMED - 1)
    return [cells[round(index * step)] for index in range(_MOST_NAMED)]


def _named(fronts: Mapping[str, _Front]) -> Iterator[tuple[str, CellView]]:
    for front in fronts.values():
        yield from front.named.items()


def _lines_of_key(fronts: Mapping[str, _Front]) -> list[Line2D]:
    """Return the entries of the key besides the methods'."""
    ink = LIGHT["ink"]
    entries = [Line2D([], [], color=ink, lw=1, label="Pareto front")]
    if any(front.dense for front in fronts.values()):
        entries.append(Line2D([], [], color=ink, ls="", marker="*", ms=10, label="unpruned"))
    return entries


def _draw(panel: Axes, front: _Front, axes: _Axes, methods: Methods) -> None:
    """Draw the cells of a panel, its front and its reference."""
    crowded = len(front.cells) > _CROWDED
    _draw_errors(panel, front, front.best if crowded else front.cells, axes)
    on_front = {cell.cell.key for cell in front.best}
    for cell in front.cells:
        x, y = front.places[cell.cell.key]
        look = _BEST if cell.cell.key in on_front else _CROWD if crowded else _BEATEN
        (point,) = panel.plot(x, y, ls="", **methods.look(cell.cell), **look)
        set_tip(point, f"{cell.cell.name}: {y:.4g}")
    steps = zip(*(front.places[cell.cell.key] for cell in front.best), strict=True)
    panel.step(*steps, where="post", color=LIGHT["ink"], lw=0.9, zorder=2)
    _draw_letters(panel, front, axes)
    if front.dense is not None:
        panel.axhline(front.dense[1], color=LIGHT["ink"], lw=0.7, ls=":")
        panel.plot(*front.dense, color=LIGHT["ink"], marker="*", ms=11, ls="", zorder=5)
    _label(panel, front, axes)


def _draw_errors(panel: Axes, front: _Front, cells: Sequence[CellView], axes: _Axes) -> None:
    x_errors = [standard_error(cell, axes.size) / axes.scale.divisor for cell in cells]
    y_errors = [standard_error(cell, axes.metric) for cell in cells]
    panel.errorbar(
        [front.places[cell.cell.key][0] for cell in cells],
        [front.places[cell.cell.key][1] for cell in cells],
        xerr=x_errors if any(x_errors) else None,
        yerr=y_errors if any(y_errors) else None,
        fmt="none",
        ecolor=LIGHT["others"],
        elinewidth=0.8,
        zorder=1,
    )


def _draw_letters(panel: Axes, front: _Front, axes: _Axes) -> None:
    """Write the letters on the side of the front where nothing can lie."""
    down = lower_is_better(axes.metric)
    for letter, cell in front.named.items():
        panel.annotate(
            letter,
            front.places[cell.cell.key],
            xytext=(-5, -4 if down else 4),
            textcoords="offset points",
            ha="right",
            va="top" if down else "bottom",
            fontweight="bold",
            fontsize=8,
        )


def _label(panel: Axes, front: _Front, axes: _Axes) -> None:
    panel.set_xlabel(axes.scale.label)
    panel.set_ylabel(quality_label(axes.metric))
    if needs_log(y for _, y in front.places.values()):
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
    panel.margins(x=0.08, y=0.12)


def _draw_limits(panel: Axes, front: _Front, limits: Sequence[float]) -> None:
    """Draw the limits that lie near the cells; one far off would press these into a corner."""
    sizes = [x for x, _ in front.places.values()]
    sizes += [front.dense[0]] if front.dense else []
    leeway = _LEEWAY * (max(sizes) - min(sizes))
    for limit in limits:
        if min(sizes) - leeway <= limit <= max(sizes) + leeway:
            panel.axvline(limit, color=LIGHT["alarm"], lw=0.9, ls="--", zorder=1)
            panel.annotate(
                f"≤ {limit:.4g} ",
                (limit, 1),
                xycoords=("data", "axes fraction"),
                rotation=90,
                ha="right",
                va="top",
                fontsize=8,
                color=LIGHT["alarm"],
            )
