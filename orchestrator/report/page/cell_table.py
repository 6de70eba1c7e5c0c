"""The cells of a grid and its unpruned models as a table: settings, sizes, scores, status."""

from collections.abc import Callable, Mapping, Sequence

from orchestrator.grid.cells import Cell
from orchestrator.grid.shorthand import as_written, shortest
from orchestrator.redact import redact
from orchestrator.report.page.tables import Column, PageTable, Value, layer_list, metric_value, text
from orchestrator.views.budget import Choice
from orchestrator.views.grid_view import CellView, DenseView, GridView, Status
from trsp.records import lower_is_better

_SIZES = {"params": "params", "bytes": "size", "latency_ms": "latency (ms)"}
_STATUS_ORDER = (Status.DONE, Status.RUNNING, Status.WAITING, Status.FAILED, Status.KILLED)

# A setting's title, and what a cell's value of it is. Those alike in all cells are left out.
_SETTINGS: Mapping[str, Callable[[Cell], float | str | None]] = {
    "model": lambda cell: cell.model.name,
    "ratio": lambda cell: cell.ratio,
    "selector": lambda cell: cell.selector_label or cell.selector.name,
    "λ₁": lambda cell: cell.gate_l1,
    "transfer": lambda cell: cell.transfer_label or cell.transfer.name,
    "λ₂": lambda cell: cell.drift,
    "seed": lambda cell: cell.seed,
}


def cell_table(view: GridView, choices: Sequence[Choice]) -> PageTable:
    """Return a row per cell: those with scores first, the best by the first metric on top."""
    settings = _telling_settings(view)
    columns = (
        Column("cell"),
        Column("status"),
        *_number_columns(view.metrics),
        Column("removed layers", wide=True),
        *(Column(name, numeric=name in ("ratio", "λ₁", "λ₂", "seed")) for name in settings),
    )
    ordered = sorted(view.cells, key=lambda cell: _order(cell, view.metrics))
    rows = tuple(_row(cell, settings, view.metrics, choices) for cell in ordered)
    return PageTable(columns, rows)


def dense_table(view: GridView) -> PageTable:
    """Return a row per unpruned model: the reference of its cells."""
    columns = (
        Column("unpruned model"),
        Column("status"),
        Column("layers", numeric=True),
    )
    rows = tuple(
        (
            text(dense.model.name),
            _status(dense.status, "", dense.reason),
            text(dense.model.layers, dense.model.layers),
            *_numbers(dense, view.metrics),
        )
        for dense in view.dense
    )
    return PageTable((*columns, *_number_columns(view.metrics)), rows)


def _telling_settings(view: GridView) -> list[str]:
    """Return the settings that are not alike in all cells."""
    return [
        name
        for name, setting in _SETTINGS.items()
        if len({setting(view_.cell) for view_ in view.cells}) > 1
    ]


def _number_columns(metrics: Sequence[str]) -> list[Column]:
    return [Column(title, numeric=True) for title in (*metrics, *_SIZES.values())]


def _order(cell: CellView, metrics: Sequence[str]) -> tuple[float, int, str]:
    value = cell.metrics().get(metrics[0]) if metrics else None
    place = _STATUS_ORDER.index(cell.status)
    if value is None:
        return float("inf"), place, cell.cell.name
    return (value if lower_is_better(metrics[0]) else -value), place, cell.cell.name


def _row(
    cell: CellView, settings: Sequence[str], metrics: Sequence[str], choices: Sequence[Choice]
) -> tuple[Value, ...]:
    roles = tuple(f"best: {each.budget.alias}" for each in choices if _is_best(cell, each))
    remarks = "; ".join(filter(None, (cell.reason, cell.slowed)))
    return (
        Value(cell.cell.name, cell.cell.name, notes=roles),
        _status(cell.status, cell.stage, remarks),
        *_numbers(cell, metrics),
        text(layer_list(cell.layers), len(cell.layers or ())),
        *(_setting(name, cell.cell) for name in settings),
    )


def _is_best(cell: CellView, choice: Choice) -> bool:
    return choice.best is not None and choice.best.cell.key == cell.cell.key


def _setting(name: str, cell: Cell) -> Value:
    value = _SETTINGS[name](cell)
    if isinstance(value, float):
        return text(as_written(value) if name == "ratio" else shortest(value), value)
    return text(value, value)


def _status(status: Status, stage: str, remarks: str) -> Value:
    shown = status if status is Status.DONE or not stage else f"{status}: {stage}"
    notes = (redact(remarks),) if remarks else ()
    return Value(shown, _STATUS_ORDER.index(status), tone=str(status), notes=notes)


def _numbers(part: CellView | DenseView, metrics: Sequence[str]) -> list[Value]:
    return [metric_value(part, name) for name in (*metrics, *_SIZES)]
