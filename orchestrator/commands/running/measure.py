"""``trsp measure``: what a grid's latencies rest on, and measuring them once more."""

from typing import Annotated

import typer

from orchestrator.commands.app import RUNNING, app
from orchestrator.commands.options import Address, AllowVariables, GridFile
from orchestrator.grid.schema import load_grid
from orchestrator.report.measurement_tables import print_measurements
from orchestrator.report.printing import console
from orchestrator.views.measurements import Selection


@app.command(rich_help_panel=RUNNING)
def measure(
    file: GridFile,
    again: Annotated[bool, typer.Option("--again", help="Measure anew and run the grid.")] = False,
    noisy: Annotated[bool, typer.Option("--noisy", help="Only what is in doubt.")] = False,
    cell: Annotated[list[str] | None, typer.Option(help="Only of this cell, by its name.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only of this model.")] = None,
    address: Address = None,
    allow_variable: AllowVariables = None,
) -> None:
    """Show what a grid's latencies rest on; with --again, measure them once more."""
    selection = Selection(tuple(model or ()), tuple(cell or ()), noisy)
    from orchestrator.run import measurements_offline, run_grid

    if again:
        raise typer.Exit(run_grid(file, address=address, measure_again=selection))
    print_measurements(selection.of(measurements_offline(load_grid(file))), console())
