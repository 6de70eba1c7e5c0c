"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.completion import grid_files
from orchestrator.grid.locations import ALLOWED_VARIABLES, allow_variables

GridFile = Annotated[
    Path,
    typer.Argument(
        help="A grid file, such as jobs/demo.yaml.", show_default=False, autocompletion=grid_files
    ),
]


def _allow(names: list[str] | None) -> list[str] | None:
    """Let the grid file see these variables of the environment."""
    allow_variables(names or ())
    return names


# Its callback comes before the command's function: that finds the variables allowed.
AllowVariables = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-variable",
        metavar="NAME",
        callback=_allow,
        help="Variable of the environment that the file may use beside TRSP_*, HOME and USER; "
        f"may be given several times. Also: {ALLOWED_VARIABLES}=NAME,NAME in the environment.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Address = Annotated[
    str | None, typer.Option(envvar="RAY_ADDRESS", help="Ray cluster; default: a local Ray.")
]
