"""Which grid a command looks at: by its file, or by what the store keeps of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.grid.schema import load_grid
from orchestrator.report.printing import console, print_line

if TYPE_CHECKING:
    from orchestrator.stages.resolve import Resolved

WhichGrid = Annotated[
    str,
    typer.Argument(
        metavar="GRID",
        help="A grid file; or, of a grid that the store keeps, its name or the beginning of its "
        "key.",
        show_default=False,
    ),
]
OptionalGrid = Annotated[
    str | None,
    typer.Argument(
        metavar="GRID",
        help="A grid file; or a kept grid's name or the beginning of its key; default: the grid "
        "that was run last in the store.",
        show_default=False,
    ),
]
StoreOf = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="A grid file, for its store.", show_default=False),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URI",
        help="The store to look into; default: the file's own, else TRSP_STORE in the environment, "
        "else ~/.trsp/store.",
        show_default=False,
    ),
]


def resolved_grid(which: str | None, store: str | None = None) -> "Resolved":
    """Return the grid that is meant, from any machine that reaches its store.

    ``which``: a grid file, or the name or the beginning of the key of a grid kept in ``store``. Of
    a file whose models or texts are not here, it is what the store keeps for equal settings. None:
    the grid that was run last there. What people should know of it goes to stderr. Raises TrspError
    where there is no such grid.
    """
    from orchestrator.kept_grids.lookup import look_up

    return look_up(which, store, lambda text: print_line(console(stderr=True), f"note: {text}"))


def store_address(file: Path | None, store: str | None) -> str:
    """Return the address of the store that is meant: ``store``, else the file's, else the usual."""
    from orchestrator.kept_grids.lookup import storage_at

    return load_grid(file).storage.store if file and not store else storage_at(store).store
