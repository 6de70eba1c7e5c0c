"""``trsp run``: make every result of a grid exist."""

import typer

from orchestrator.commands.app import RUNNING, app
from orchestrator.commands.options import Address, AllowVariables, GridFile


@app.command(rich_help_panel=RUNNING)
def run(
    file: GridFile,
    address: Address = None,
    allow_variable: AllowVariables = None,
) -> None:
    """Make every result of a grid exist; what the store already has is not done again."""
    from orchestrator.run import run_grid

    raise typer.Exit(run_grid(file, address=address))
