"""``trsp cancel`` and ``trsp retry``: what the driver of a grid is to stop, or to try again."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from orchestrator.commands.app import RUNNING, app
from orchestrator.commands.looking.which import StoreOption, WhichGrid, resolved_grid
from orchestrator.commands.options import AllowVariables
from orchestrator.report.printing import console, print_line

if TYPE_CHECKING:
    from orchestrator.stages.resolve import Resolved
    from orchestrator.store.store import Store
    from orchestrator.views.grid_view import GridView

AskedT = TypeVar("AskedT")
Cells = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="CELL",
        help="Cells, each by a part of its name or its number (#3); default: all of the grid.",
        show_default=False,
    ),
]


@app.command(rich_help_panel=RUNNING)
def cancel(
    grid: WhichGrid,
    cells: Cells = None,
    store: StoreOption = None,
    allow_variable: AllowVariables = None,
) -> None:
    """Stop a grid that runs, wherever its driver is; or only cells of it, and the others go on."""
    from orchestrator.kept_grids.asking import cancel as ask
    from orchestrator.report.looking.asked_text import cancelled_lines

    _ask(ask, cancelled_lines, resolved_grid(grid, store), cells or ())


@app.command(rich_help_panel=RUNNING)
def retry(
    grid: WhichGrid,
    cells: Cells = None,
    store: StoreOption = None,
    allow_variable: AllowVariables = None,
) -> None:
    """Try again what has failed or was cancelled: by the driver at work, or the next one."""
    from orchestrator.kept_grids.asking import retry as ask
    from orchestrator.report.looking.asked_text import retried_lines

    _ask(ask, retried_lines, resolved_grid(grid, store), cells or ())


def _ask(
    ask: Callable[["Store", "GridView", Sequence[str]], AskedT],
    lines: Callable[[AskedT, str], Iterable[str]],
    resolved: "Resolved",
    cells: Sequence[str],
) -> None:
    """Ask it of the drivers of a grid, or of these cells of it, and print what came of that."""
    from orchestrator.run import view_of
    from orchestrator.store.patience import in_words
    from orchestrator.store.store import Store

    with in_words(resolved.grid.storage.store):
        asked = ask(Store(resolved.grid.storage.store), view_of(resolved), cells)
    for line in lines(asked, resolved.grid.name):
        print_line(console(), line)
