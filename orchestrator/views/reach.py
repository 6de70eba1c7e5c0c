"""How many layers must go for a budget that no cell meets, model by model. Pure.

Sizes are exact; latencies lie about on a line over the layers, through what was measured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression

from orchestrator.grid.budgets import Budget
from orchestrator.grid.fitting.fit import fewest, least_in_words
from orchestrator.grid.fitting.sizes import Line, size_lines
from orchestrator.views.grid_view import CellView, DenseView, GridView
from trsp.config import Precision

LATENCY = "latency_ms"


@dataclass(frozen=True)
class Reach:
    """What a budget takes of one model.

    ``removed``: the fewest layers that must go; None where no number of them will do, or none can
    be known, and ``reason`` says which. ``asked``: whether cells of the grid remove so many.
    ``shapes``: on how many measured shapes of the model the answer rests; 0 where it is exact.
    """

    model: str
    layers: int
    removed: int | None = None
    reason: str = ""
    asked: bool = False
    shapes: int = 0


def reach(view: GridView, budget: Budget, precision: Precision) -> tuple[Reach, ...]:
    """Return what the budget takes of each model whose shape is known.

    ``precision``: the grid's, in which checkpoints are saved. Nothing for a budget without limits.
    """
    if not budget.limits:
        return ()
    return tuple(_of_model(view, each, budget, precision) for each in view.dense)


def _of_model(view: GridView, dense: DenseView, budget: Budget, precision: Precision) -> Reach:
    model = dense.model
    if model.shape is None:
        return Reach(model.name, model.layers, reason="its config.json is not at hand")
    cells = [cell for cell in view.cells if cell.cell.model.name == model.name]
    measured = list(_latencies(dense, cells))
    lines = size_lines(model.shape, model.shape.weight_bytes(precision), _dense_latency(measured))
    if (line := _through(measured)) is not None:
        lines[LATENCY] = line
    limits = budget.limits
    if not limits.keys() <= lines.keys():
        return Reach(model.name, model.layers, reason="its latency is not measured yet")
    removed = fewest(lines, limits)
    shapes = len({removed for removed, _ in measured}) if LATENCY in limits else 0
    if removed >= model.layers:
        reason = least_in_words(lines, model.layers, limits)
        return Reach(model.name, model.layers, reason=reason, shapes=shapes)
    asked = any(cell.cell.removed == removed for cell in cells)
    return Reach(model.name, model.layers, removed, asked=asked, shapes=shapes)


def _latencies(dense: DenseView, cells: Sequence[CellView]) -> Iterator[tuple[int, float]]:
    """Yield the layers that are gone and the prompt latency, of every measured shape; sound ones.

    Those in doubt count only where there are none but these.
    """
    found = [(0, dense.measurement), *((cell.cell.removed, cell.measurement) for cell in cells)]
    known = [(removed, record) for removed, record in found if record is not None]
    sound = [(removed, record) for removed, record in known if not record.doubt]
    for removed, record in sound or known:
        yield removed, record.prompt_latency_ms


def _dense_latency(measured: Sequence[tuple[int, float]]) -> float | None:
    """Return the unpruned model's latency; None where it was not measured."""
    latencies = [latency_ms for removed, latency_ms in measured if removed == 0]
    return fmean(latencies) if latencies else None


def _through(measured: Sequence[tuple[int, float]]) -> Line | None:
    """Return the line through latencies by the layers that are gone; None where they tell none.

    That is where all are of one shape, or where fewer layers were not faster.
    """
    if len({removed for removed, _ in measured}) < 2:
        return None
    slope, intercept = linear_regression(*zip(*measured, strict=True))
    return Line(intercept, -slope) if slope < 0 else None
