"""``trsp measure``: what a grid's latencies rest on, and measuring them once more."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.app import RUNNING, app
from orchestrator.commands.looking.which import StoreOption, WhichGrid, resolved_grid
from orchestrator.commands.options import Address, AllowVariables
from orchestrator.report.measurement_tables import print_measurements
from orchestrator.report.printing import console
from orchestrator.views.measurements import Selection


@app.command(rich_help_panel=RUNNING)
def measure(
    grid: WhichGrid,
    again: Annotated[bool, typer.Option("--again", help="Measure anew and run the grid.")] = False,
    noisy: Annotated[bool, typer.Option("--noisy", help="Only what is in doubt.")] = False,
    cell: Annotated[list[str] | None, typer.Option(help="Only of this cell, by its name.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only of this model.")] = None,
    store: StoreOption = None,
    address: Address = None,
    allow_variable: AllowVariables = None,
) -> None:
    """Show what a grid's latencies rest on; with --again, measure them once more."""
    selection = Selection(tuple(model or ()), tuple(cell or ()), noisy)
    from orchestrator.run import measurements_of, run_grid

    if again:
        raise typer.Exit(run_grid(Path(grid), address=address, measure_again=selection))
    print_measurements(selection.of(measurements_of(resolved_grid(grid, store))), console())
