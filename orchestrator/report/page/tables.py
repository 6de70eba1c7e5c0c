"""A table as plain data, for any page; and numbers, layers and durations as a page shows them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.report.printing import format_metric, format_number
from orchestrator.views.grid_view import CellView, DenseView

_RUN = 3  # layers in a row from which on they are written as a range


@dataclass(frozen=True)
class Value:
    """What one place of a table shows.

    ``order``: what its column is sorted by; None sorts last. ``tone``: how it looks (``failed``,
    ``muted``, ...). ``notes``: short remarks beside it.
    """

    text: str
    order: float | str | None = None
    tone: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column's title; ``numeric`` ones are aligned at the right."""

    title: str
    numeric: bool = False
    wide: bool = False  # holds text that may be broken into lines


@dataclass(frozen=True)
class PageTable:
    """Columns, and rows as long as these."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]


def metric_value(part: CellView | DenseView, name: str) -> Value:
    """Return a metric of a cell or an unpruned model, with its standard error.

    A latency that is too noisy says so.
    """
    value = part.metrics().get(name)
    if value is None:
        return text(None)
    score = part.evaluation.scores.get(name) if part.evaluation else None
    error = "" if score is None or score.stderr is None else f" ± {score.stderr:.2g}"
    noisy = name == "latency_ms" and part.measurement is not None and part.measurement.noise
    return Value(f"{format_metric(name, value)}{error}", value, notes=("noisy",) if noisy else ())


def text(shown: object, order: float | str | None = None) -> Value:
    """Return a text as a place in a table; a dash for None."""
    if shown is None:
        return Value("–", tone="muted")
    return Value(str(shown), str(shown) if order is None else order)


def layer_list(layers: Sequence[int] | None) -> str:
    """Return layers in ascending order, three or more in a row as a range: ``2, 13–17``."""
    if layers is None:
        return "–"
    return ", ".join(_ranges(sorted(layers))) or "none"


def _ranges(layers: list[int]) -> Iterator[str]:
    """Yield ``13–17`` for layers in a row, and each layer of shorter rows by itself."""
    starts = [0, *(i for i, (a, b) in enumerate(pairwise(layers), 1) if b != a + 1), len(layers)]
    for start, end in pairwise(starts):
        row = layers[start:end]
        if len(row) >= _RUN:
            yield f"{row[0]}–{row[-1]}"
        else:
            yield from map(str, row)


def duration(seconds: float) -> str:
    """Return ``45 s``, ``12 min`` or ``3.4 h``."""
    if seconds < 90:
        return f"{format_number(round(seconds, 1))} s"
    if seconds < 5400:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"
