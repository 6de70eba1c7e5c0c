"""``trsp status`` as text for people: every cell of a grid, where it stands and its scores.

Decides nothing; knows views alone.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.redact import redact
from orchestrator.report.printing import STYLES, cell_row, format_metric, headers, print_line
from orchestrator.views.grid_view import CellView, DenseView, GridView, Status
from trsp.records import lower_is_better

_STATUS_ORDER = (Status.FAILED, Status.KILLED, Status.RUNNING, Status.DONE, Status.WAITING)


def print_status(view: GridView, metrics: Sequence[str], out: Console) -> None:
    """Print how many cells are done, and the table of all of them with these metrics."""
    done = sum(cell.status is Status.DONE for cell in view.cells)
    counts = f"{done} of {len(view.cells)} cells done"
    print_line(out, f"grid {view.name} ({view.key}): {view.status}, {counts}")
    out.print(status_table(view, metrics))


def status_table(view: GridView, metrics: Sequence[str], limit: int | None = None) -> Table:
    """Return a table of the unpruned models and then the cells, at most ``limit`` of them.

    First what failed, then what runs, what is done (best first metric on top), and what waits.
    """
    columns = ("params", *metrics, "latency_ms")
    table = Table("cell", "removed layers", *headers(columns), "status")
    for dense in view.dense:
        table.add_row(*_dense_row(dense, columns), _status_text(dense.status, "", dense.reason))
    ordered = sorted(
        view.cells, key=lambda cell: (_STATUS_ORDER.index(cell.status), _cost(cell, metrics))
    )
    for cell in ordered[:limit]:
        remarks = "; ".join(filter(None, (cell.reason, cell.slowed)))
        table.add_row(*cell_row(cell, columns), _status_text(cell.status, cell.stage, remarks))
    if limit is not None and len(ordered) > limit:
        table.add_row(f"and {len(ordered) - limit} more")
    return table


def _dense_row(dense: DenseView, columns: Sequence[str]) -> list[str]:
    values = dense.metrics()
    shown = [format_metric(name, values.get(name)) for name in columns]
    return [escape(f"{dense.model.name} dense"), "-", *shown]


def _cost(cell: CellView, metrics: Sequence[str]) -> float:
    """The cell's first metric, signed so that less is better; 0 where no metric is asked for."""
    if not metrics:
        return 0.0
    value = cell.metrics().get(metrics[0], float("inf"))
    return value if lower_is_better(metrics[0]) else -value


def _status_text(status: Status, stage: str, reason: str) -> Text:
    text = status if status is Status.DONE or not stage else f"{status}: {stage}"
    return Text(f"{text} ({redact(reason)})" if reason else text, STYLES.get(status, ""))
