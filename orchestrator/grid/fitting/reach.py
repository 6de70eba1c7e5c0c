"""How many layers of a model must go for limits that nothing keeps yet. Pure.

Sizes are exact; latencies lie about on a line over the layers, through what was measured.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression

from orchestrator.grid.fitting.fit import Limits, fewest, least_in_words
from orchestrator.grid.fitting.sizes import Line, size_lines
from trsp.architecture.shape import ModelShape
from trsp.config import Precision

LATENCY = "latency_ms"
Latencies = Sequence[tuple[int, float]]  # by the number of layers that are gone


@dataclass(frozen=True)
class Reach:
    """What limits take of one model.

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


@dataclass(frozen=True)
class Known:
    """What is known of a model: its shape, if it is, and the latencies of its measured shapes.

    ``asked``: the numbers of layers that cells of the grid remove.
    """

    model: str
    layers: int
    shape: ModelShape | None
    latencies: Latencies = ()
    asked: Collection[int] = ()


def reach(known: Known, limits: Limits, precision: Precision) -> Reach:
    """Return what the limits, at least one, take of a model saved in the ``precision``."""
    model, layers, shape = known.model, known.layers, known.shape
    if shape is None:
        return Reach(model, layers, reason="its config.json is not at hand")
    lines = size_lines(shape, shape.weight_bytes(precision), _dense_latency(known.latencies))
    if (line := _through(known.latencies)) is not None:
        lines[LATENCY] = line
    if not limits.keys() <= lines.keys():
        return Reach(model, layers, reason="its latency is not measured yet")
    shapes = len({removed for removed, _ in known.latencies}) if LATENCY in limits else 0
    removed = fewest(lines, limits)
    if removed >= layers:
        reason = least_in_words(lines, layers, limits)
        return Reach(model, layers, reason=reason, shapes=shapes)
    return Reach(model, layers, removed, asked=removed in known.asked, shapes=shapes)


def _dense_latency(measured: Latencies) -> float | None:
    """Return the unpruned model's latency; None where it was not measured."""
    latencies = [latency_ms for removed, latency_ms in measured if removed == 0]
    return fmean(latencies) if latencies else None


def _through(measured: Latencies) -> Line | None:
    """Return the line through latencies by the layers that are gone; None where they tell none.

    That is where all are of one shape, or where fewer layers were not faster.
    """
    if len({removed for removed, _ in measured}) < 2:
        return None
    slope, intercept = linear_regression(*zip(*measured, strict=True))
    return Line(intercept, -slope) if slope < 0 else None
