"""``trsp run``: make every result of a grid exist."""

import typer

from orchestrator.commands.app import RUNNING, app
from orchestrator.commands.options import Address, AllowVariables, GridFile
from orchestrator.interrupts import say_at_interrupt
from orchestrator.report.printing import console, print_line


@app.command(rich_help_panel=RUNNING)
def run(
    file: GridFile,
    address: Address = None,
    allow_variable: AllowVariables = None,
) -> None:
    """Make every result of a grid exist; what the store already has is not done again."""
    print_line(console(), f"reading {file}")
    say_at_interrupt("stopped before any stage was started; the same command begins again")

    from orchestrator.run import run_grid  # takes seconds

    raise typer.Exit(run_grid(file, address=address))
