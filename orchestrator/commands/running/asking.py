"""``trsp cancel`` and ``trsp retry``: what the driver of a grid is to stop, or to try again."""

from typing import Annotated

import typer

from orchestrator.commands.app import RUNNING, app
from orchestrator.commands.looking.which import StoreOption, WhichGrid, resolved_grid
from orchestrator.commands.options import AllowVariables
from orchestrator.report.printing import console, print_line

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
    from orchestrator.run import view_of
    from orchestrator.store.patience import in_words
    from orchestrator.store.store import Store

    resolved = resolved_grid(grid, store)
    with in_words(resolved.grid.storage.store):
        asked = ask(Store(resolved.grid.storage.store), view_of(resolved), cells or ())
    for line in cancelled_lines(asked, resolved.grid.name):
        print_line(console(), line)


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
    from orchestrator.run import view_of
    from orchestrator.store.patience import in_words
    from orchestrator.store.store import Store

    resolved = resolved_grid(grid, store)
    with in_words(resolved.grid.storage.store):
        asked = ask(Store(resolved.grid.storage.store), view_of(resolved), cells or ())
    for line in retried_lines(asked, resolved.grid.name):
        print_line(console(), line)
