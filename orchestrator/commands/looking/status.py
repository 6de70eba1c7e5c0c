"""``trsp status``: every cell of a grid as the store knows it."""

from orchestrator.commands.app import LOOKING, app
from orchestrator.commands.looking.which import StoreOption, WhichGrid, resolved_grid
from orchestrator.commands.options import AllowVariables
from orchestrator.report.printing import console
from orchestrator.report.status_tables import print_status


@app.command(rich_help_panel=LOOKING)
def status(
    grid: WhichGrid, store: StoreOption = None, allow_variable: AllowVariables = None
) -> None:
    """Show every cell of a grid as the store knows it now. Starts nothing."""
    from orchestrator.run import view_of

    resolved = resolved_grid(grid, store)
    print_status(view_of(resolved), resolved.grid.headline_metrics, console())
