"""``trsp status``: where a grid stands as its store knows it, once or for as long as it runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.app import LOOKING, app
from orchestrator.commands.looking.which import StoreOption, WhichGrid, resolved_grid
from orchestrator.commands.options import AllowVariables
from orchestrator.report.printing import console
from orchestrator.report.standing.status_tables import print_status
from orchestrator.views.grid_view import concluded

if TYPE_CHECKING:
    from orchestrator.watching import GridWatch, Seen

Watch = Annotated[
    bool, typer.Option("--watch", help="Follow it until it is over; Ctrl-C ends the watching only.")
]
Every = Annotated[
    float, typer.Option("--every", metavar="SECONDS", min=0.5, help="With --watch: how often.")
]
All = Annotated[
    bool, typer.Option("--all", help="Every cell, however many; default: grouped beyond 40.")
]


@app.command(rich_help_panel=LOOKING)
def status(
    grid: WhichGrid,
    store: StoreOption = None,
    watch: Watch = False,
    every: Every = 5.0,
    every_cell: All = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Show where a grid stands, as its store knows it. Starts nothing."""
    from orchestrator.watching import GridWatch

    resolved = resolved_grid(grid, store)
    metrics, watcher = resolved.grid.headline_metrics, GridWatch(resolved)
    seen = _followed(watcher, metrics, every) if watch else watcher.look()
    print_status(concluded(seen.view), metrics, console(), seen.news, every_cell=every_cell)


def _followed(watcher: "GridWatch", metrics: Sequence[str], every_s: float) -> "Seen":
    """Show the grid until it is over, or Ctrl-C; return how it was seen last."""
    from orchestrator.interrupts import interruptible
    from orchestrator.report.standing.live_report import make_report
    from orchestrator.watching import Seen, follow

    last: list[Seen] = []

    def look() -> Seen:
        last[:] = [watcher.look()]
        return last[0]

    with interruptible():
        try:
            return follow(look, make_report(console(), metrics), every_s)
        except KeyboardInterrupt:
            if not last:
                raise
    return last[0]
