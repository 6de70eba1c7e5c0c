"""``trsp status`` as text for people: the cells of a grid, where they stand and their scores.

Decides nothing; knows views alone.
"""

import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.coordination.news import DriverNews
from orchestrator.redact import redact
from orchestrator.report.printing import STYLES, cell_row, headers, metric_texts, print_line
from orchestrator.report.standing.done_rows import cost
from orchestrator.report.standing.fitting import wrapped
from orchestrator.report.standing.rows import and_more
from orchestrator.report.standing.screen import Moment, screen
from orchestrator.views.grid_view import CellView, DenseView, GridView, Status

FEW_CELLS = 40  # so many are shown one by one
GROUPED_LINES = 60  # that more of them are shown in
_TABLE_WIDTH = 120  # columns; on a narrower terminal, the table's would be too thin to read

_STATUS_ORDER = (Status.FAILED, Status.KILLED, Status.RUNNING, Status.DONE, Status.WAITING)


def print_status(
    view: GridView,
    metrics: Sequence[str],
    out: Console,
    news: DriverNews | None = None,
    *,
    every_cell: bool = False,
) -> None:
    """Print how the grid stands, and its cells with these metrics.

    All of them in one table where they are few, or ``every_cell`` is asked for; else what runs,
    failed and waits is grouped, and of what is done the best are shown. ``news``: of its driver.
    """
    done = sum(cell.status is Status.DONE for cell in view.cells)
    counts = f"{done} of {len(view.cells)} cells done"
    print_line(out, f"grid {view.name} ({view.key}): {view.status}, {counts}")
    few = len(view.cells) <= FEW_CELLS
    if every_cell or (few and out.width >= _TABLE_WIDTH):
        out.print(status_table(view, metrics))
        return
    moment = Moment(view, news or DriverNews(), time.time())
    height = 10 * FEW_CELLS if few else GROUPED_LINES
    for line in screen(moment, metrics, out.width, height):
        out.print(line, soft_wrap=True)
    if not few:
        print_line(out, "--all shows every cell")


def print_failures(failed: Sequence[CellView], logs: Mapping[str, str], out: Console) -> None:
    """Print which cells failed, in which stage, why, and where a log is: equal ones together.

    ``logs``: by the stage's key, of those that have one. On a terminal texts are wrapped between
    words; elsewhere each failure is one line.
    """
    alike: dict[tuple[str, str], list[CellView]] = {}
    for cell in failed:
        alike.setdefault((cell.stage, cell.reason), []).append(cell)
    for (stage, reason), cells in alike.items():
        names = and_more([cell.cell.name for cell in cells])
        text = redact(f"failed: {names} in {stage}: {reason}")
        log = logs.get(cells[0].stage_keys.get(stage, ""), "")
        if not out.is_terminal:
            print_line(out, f"{text}; its log is in {log}" if log else text)
            continue
        for line in wrapped(text, out.width):
            print_line(out, line)
        if log:
            print_line(out, f"its log is in {log}")


def status_table(view: GridView, metrics: Sequence[str]) -> Table:
    """Return a table of the unpruned models and then the cells.

    First what failed, then what runs, what is done (best first metric on top), and what waits.
    Numbers are never broken over lines.
    """
    columns = ("params", *metrics, "latency_ms")
    table = Table("cell", "removed layers")
    for header in headers(columns):
        table.add_column(header, no_wrap=True, min_width=6)
    table.add_column("status")
    for dense in view.dense:
        table.add_row(*_dense_row(dense, columns), _status_text(dense.status, "", dense.reason))
    ordered = sorted(
        view.cells, key=lambda cell: (_STATUS_ORDER.index(cell.status), cost(cell, metrics))
    )
    for cell in ordered:
        remarks = "; ".join(filter(None, (cell.reason, cell.slowed)))
        table.add_row(*cell_row(cell, columns), _status_text(cell.status, cell.stage, remarks))
    return table


def _dense_row(dense: DenseView, columns: Sequence[str]) -> list[str]:
    return [escape(f"{dense.model.name} dense"), "-", *metric_texts(dense, columns)]


def _status_text(status: Status, stage: str, reason: str) -> Text:
    text = status if status is Status.DONE or not stage else f"{status}: {stage}"
    return Text(f"{text} ({redact(reason)})" if reason else text, STYLES.get(status, ""))
