"""``trsp status``: every cell of a grid as the store knows it."""

from orchestrator.commands.app import LOOKING, app
from orchestrator.commands.options import AllowVariables, GridFile
from orchestrator.grid.schema import load_grid
from orchestrator.report.printing import console
from orchestrator.report.standing.status_tables import print_status


@app.command(rich_help_panel=LOOKING)
def status(file: GridFile, allow_variable: AllowVariables = None) -> None:
    """Show every cell of a grid as the store knows it now. Starts nothing."""
    from orchestrator.run import view_offline

    grid = load_grid(file)
    print_status(view_offline(grid), grid.headline_metrics, console())
