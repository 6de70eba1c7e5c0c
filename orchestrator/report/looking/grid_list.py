"""``trsp list`` as text for people: the grids of a store. Decides nothing."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.kept_grids.listing import Listed
from orchestrator.kept_grids.shelf import day_and_time, short_key
from orchestrator.redact import redact
from orchestrator.report.printing import STYLES, print_line
from orchestrator.views.grid_view import Status


def print_grids(grids: Sequence[Listed], uri: str, out: Console) -> None:
    """Print a line per grid, the newest first, and below them who works on which now."""
    if not grids:
        print_line(out, f"no grid was run in the store {uri} yet: trsp run FILE runs one")
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("grid", "key", "run by", "started", "done", "failed", "status"):
        right, long = name in ("done", "failed"), name in ("grid", "run by")
        table.add_column(
            name, justify="right" if right else "left", no_wrap=not long, overflow="fold"
        )
    for each in grids:
        table.add_row(*_row(each))
    out.print(table)
    for each in grids:
        for driver in each.drivers:
            print_line(out, f"{each.kept.grid.name} is run by {driver} now")


def _row(listed: Listed) -> list[str | Text]:
    grid = listed.kept.grid
    style = STYLES[Status(listed.status)] if listed.status in set(Status) else "dim"
    return [
        escape(grid.name),
        short_key(listed.kept.key).removeprefix("grid-"),
        escape(redact(grid.by)) or "-",
        day_and_time(grid.started) if grid.started else "-",
        f"{listed.count(Status.DONE)} of {listed.cells}" if listed.cells else "-",
        str(listed.count(Status.FAILED)) if listed.cells else "-",
        Text(listed.status, style),
    ]
