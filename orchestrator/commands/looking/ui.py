"""``trsp ui``: MLflow's pages on a grid's results, in the browser."""

import signal
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.app import LOOKING, app
from orchestrator.commands.looking.which import StoreOption, resolved_grid
from orchestrator.commands.options import AllowVariables
from orchestrator.grid.run_settings import Tracking
from orchestrator.grid.schema import load_grid
from orchestrator.interrupts import interruptible
from orchestrator.report.printing import console, print_line

WhichPages = Annotated[
    str | None,
    typer.Argument(
        metavar="GRID",
        help="A grid file; or a kept grid's name or the beginning of its key; default: all that "
        "MLflow has.",
        show_default=False,
    ),
]
Uri = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        help="MLflow's database or server; default: the grid's tracking.uri, else "
        "sqlite:///~/.trsp/mlflow.db.",
        show_default=False,
    ),
]
Port = Annotated[
    int | None,
    typer.Option(metavar="PORT", min=1, max=65535, help="Default: 5000, or any that is free."),
]


@app.command(rich_help_panel=LOOKING)
def ui(
    grid: WhichPages = None,
    store: StoreOption = None,
    uri: Uri = None,
    port: Port = None,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the link, and open no browser.")
    ] = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Show a grid's leaderboard in the browser: MLflow's server runs until Ctrl-C."""
    from orchestrator.tracking.pages.links import is_server, pages_url
    from orchestrator.tracking.pages.server import require_database, served

    name, tracking = _meant(grid, store) if grid else ("", Tracking())
    if uri:
        tracking = tracking.model_copy(update={"uri": uri, "ui_url": None})
    if is_server(tracking.uri):
        _show(tracking, name, pages_url(tracking.uri, tracking.ui_url), no_open)
        return
    require_database(tracking.uri)
    with interruptible(signal.SIGTERM), interruptible():
        try:
            with served(tracking.uri, port) as base:
                _show(tracking, name, base, no_open)
                _say("Ctrl-C ends it")
                threading.Event().wait()
        except KeyboardInterrupt:  # the server has ended, too
            _say("ended")


def _meant(which: str, store: str | None) -> tuple[str, Tracking]:
    """Return a grid's name and tracking settings: of its file, else as its store keeps it.

    A file's models and texts need not be here.
    """
    path = Path(which)
    grid = load_grid(path) if path.is_file() else resolved_grid(which, store).grid
    return grid.name, grid.tracking


def _say(text: str) -> None:
    print_line(console(stderr=True), text)


def _show(tracking: Tracking, name: str, base: str, no_open: bool) -> None:
    """Print the link of a grid's leaderboard, and open it; of a grid that is not there, the rest's.

    ``name``: the grid's; empty for all grids. ``base``: the address of MLflow's pages.
    """
    from orchestrator.tracking.pages.find import grid_page

    link = grid_page(tracking.uri, tracking.experiment, name, base) if name else None
    if name and link is None:
        _say(f"MLflow has no grid {name!r} in experiment {tracking.experiment!r} yet")
    link = link or base
    print(link, flush=True)
    if not no_open and not webbrowser.open(link):
        _say("no browser was found here: open the link in yours")
