"""How quality falls with the share of layers that goes, one line per method."""

from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.pictures.methods import Methods, methods_of, selector_of, transfer_of
from orchestrator.pictures.output import set_tip
from orchestrator.pictures.panels import frame
from orchestrator.pictures.quantities import needs_log, quality_label, side_by_side, standard_error
from orchestrator.pictures.theme import LIGHT, in_style
from orchestrator.views.grid_view import CellView, GridView
from trsp.records import lower_is_better

_MOST_TICKS = 12
_Method = tuple[str, str]  # a selector and a transfer, by their labels
_Strengths = tuple[float | None, float | None]  # lambda_1 and lambda_2


class _Stop(NamedTuple):
    """Where a method's line stands at one ratio."""

    quality: float  # the mean over the seeds of its best strengths
    error: float  # standard error of that mean
    sample: CellView  # one of the cells that it stands for


@in_style
def quality_by_ratio(view: GridView, metric: str) -> Figure:
    """Return a figure of a score by the ratio of removed layers, with a panel per model.

    A line goes through the best strengths (lambda_1, lambda_2) of a selector and a transfer at each
    ratio, the mean of their seeds; bars are standard errors, pale marks are all single cells. The
    dotted line is the unpruned model. Raises ValueError where no cell has the score.
    """
    cells = [cell for cell in view.cells if metric in cell.metrics()]
    if not cells:
        raise ValueError(f"{view.name}: no cell has {metric}")
    methods = methods_of(view.cells)
    dense = {part.model.name: part.metrics().get(metric) for part in view.dense}
    key = methods.key()
    if any(value is not None for value in dense.values()):
        key.append([Line2D([], [], color=LIGHT["ink"], lw=0.9, ls=":", label="unpruned")])
    models = list(dict.fromkeys(cell.cell.model.name for cell in cells))
    figure, panels = frame(models, key)
    for model, panel in panels.items():
        own = [cell for cell in cells if cell.cell.model.name == model]
        _draw(panel, own, metric, methods)
        reference = dense.get(model)
        if reference is not None:
            panel.axhline(reference, color=LIGHT["ink"], lw=0.9, ls=":")
    return figure


def _draw(panel: Axes, cells: list[CellView], metric: str, methods: Methods) -> None:
    for cell in cells:
        x, y = 100 * cell.cell.ratio, cell.metrics()[metric]
        (point,) = panel.plot(x, y, **methods.look(cell.cell), ls="", ms=5, alpha=0.3, mec="none")
        set_tip(point, f"{cell.cell.name}: {y:.4g}")
    lines = _lines(cells, metric)
    stops = [stop for line in lines.values() for stop in line]
    ratios = [100 * stop.sample.cell.ratio for stop in stops]
    places = iter(side_by_side(ratios))
    for method, line in lines.items():
        _draw_line(panel, [next(places) for _ in line], line, methods, " ".join(method))
    if len(set(ratios)) <= _MOST_TICKS:
        panel.set_xticks(sorted(set(ratios)), [f"{ratio:.3g}" for ratio in sorted(set(ratios))])
    _label(panel, cells, metric)


def _draw_line(
    panel: Axes, places: list[float], stops: list[_Stop], methods: Methods, name: str
) -> None:
    cell = stops[0].sample.cell
    container = panel.errorbar(
        places,
        [stop.quality for stop in stops],
        yerr=[stop.error for stop in stops],
        **methods.look(cell),
        ls=methods.line(cell),
        ms=6,
        lw=1.2,
        elinewidth=0.8,
    )
    set_tip(container[0], name)


def _label(panel: Axes, cells: Iterable[CellView], metric: str) -> None:
    panel.set_xlabel("ratio (% of the layers removed)")
    panel.set_ylabel(quality_label(metric))
    if needs_log(cell.metrics()[metric] for cell in cells):
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")


def _lines(cells: Iterable[CellView], metric: str) -> Mapping[_Method, list[_Stop]]:
    """Return the stops of each method's line, from the smallest ratio up."""
    sorted_cells: dict[_Method, dict[float, dict[_Strengths, list[CellView]]]] = {}
    for view in cells:
        cell = view.cell
        by_ratio = sorted_cells.setdefault((selector_of(cell), transfer_of(cell)), {})
        by_strengths = by_ratio.setdefault(cell.ratio, {})
        by_strengths.setdefault((cell.gate_l1, cell.drift), []).append(view)
    return {method: list(_stops(found, metric)) for method, found in sorted_cells.items()}


def _stops(
    by_ratio: Mapping[float, Mapping[_Strengths, list[CellView]]], metric: str
) -> Iterator[_Stop]:
    best = min if lower_is_better(metric) else max
    for ratio in sorted(by_ratio):
        stops = [_stop(seeds, metric) for seeds in by_ratio[ratio].values()]
        yield best(stops, key=lambda stop: stop.quality)


def _stop(seeds: list[CellView], metric: str) -> _Stop:
    """Return the mean of these cells, which differ by their seeds alone."""
    quality = fmean(cell.metrics()[metric] for cell in seeds)
    errors = [standard_error(cell, metric) for cell in seeds]
    error = sum(each**2 for each in errors) ** 0.5 / len(errors)
    return _Stop(quality, error, seeds[0])
