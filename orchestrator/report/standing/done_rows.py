"""The cells that are done, best first, in columns that fit a terminal. Pure."""

from collections.abc import Sequence

from orchestrator.report.printing import UNKNOWN, headers, metric_texts
from orchestrator.report.standing.fitting import alike, shortened
from orchestrator.report.standing.rows import part_name
from orchestrator.views.grid_view import CellView, DenseView, GridView, Status
from trsp.records import lower_is_better

_BETWEEN = "  "
_LEAST_NAME = 24  # columns; rather than less, a column is left out
_LAYERS = "removed layers"


def done_rows(view: GridView, metrics: Sequence[str], width: int) -> tuple[list[str], list[str]]:
    """Return what stands above the cells that are done, and a row for each of them, best first.

    Above are the headings of the columns and the unpruned models. The columns are the name, then,
    as far as there is room, the ``metrics``, the size, the latency and the removed layers.
    """
    cells = [cell for cell in view.cells if cell.status is Status.DONE]
    cells.sort(key=lambda cell: cost(cell, metrics))
    dense = [dense for dense in view.dense if dense.status is Status.DONE]
    parts: list[CellView | DenseView] = [*dense, *cells]
    names = [part_name(part) for part in parts]
    columns = _columns(parts, (*metrics, "params", "latency_ms"))
    longest = max(map(len, names), default=0)
    left = width - sum(len(_BETWEEN) + len(column[0]) for column in columns)
    while columns and (left < min(longest, _LEAST_NAME) or alike(names, left)):
        left += len(_BETWEEN) + len(columns.pop()[0])
    width_of_name = max(len("cell"), min(longest, left))
    rows = [shortened(name, width_of_name).ljust(width_of_name) for name in names]
    lines = [
        _BETWEEN.join((name, *(column[number + 1] for column in columns)))
        for number, name in enumerate(rows)
    ]
    heading = _BETWEEN.join(("cell".ljust(width_of_name), *(column[0] for column in columns)))
    lines = [line.rstrip() for line in (heading, *lines)]
    return lines[: 1 + len(dense)], lines[1 + len(dense) :]


def _columns(parts: Sequence[CellView | DenseView], metrics: Sequence[str]) -> list[list[str]]:
    """Return each column as texts of one width, its header first; the removed layers last.

    One of which nothing is known is left out.
    """
    values = [metric_texts(part, metrics) for part in parts]
    columns = [
        [header.removeprefix("perplexity/"), *column]
        for header, *column in zip(headers(metrics), *values, strict=True)
        if any(text != UNKNOWN for text in column)
    ]
    aligned = [[text.rjust(max(map(len, column))) for text in column] for column in columns]
    layers = [_LAYERS, *map(_removed_layers, parts)]
    return [*aligned, [text.ljust(max(map(len, layers))) for text in layers]]


def _removed_layers(part: CellView | DenseView) -> str:
    layers = part.layers if isinstance(part, CellView) else None
    return ", ".join(map(str, sorted(layers or ())))


def cost(cell: CellView, metrics: Sequence[str]) -> float:
    """Return the cell's first metric, signed so that less is better; 0 without any metric."""
    if not metrics:
        return 0.0
    value = cell.metrics().get(metrics[0], float("inf"))
    return value if lower_is_better(metrics[0]) else -value
