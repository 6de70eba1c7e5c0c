"""``trsp compare``: two checkpoints side by side."""

import json
from typing import Annotated

import typer

from orchestrator.commands.app import LOOKING, app
from orchestrator.commands.looking.which import OptionalGrid, StoreOption, resolved_grid
from orchestrator.commands.options import AllowVariables, AsJson
from orchestrator.redact import redact_tree
from orchestrator.report.looking.comparison_tables import print_comparison
from orchestrator.report.printing import console
from orchestrator.views.comparison import compare_sides, find_side

Side = Annotated[
    str,
    typer.Argument(
        metavar="CELL",
        help="A cell, by a part of its name or its number (#3); or dense, the unpruned model.",
        show_default=False,
    ),
]


@app.command(rich_help_panel=LOOKING)
def compare(
    first: Side,
    second: Side,
    grid: OptionalGrid = None,
    store: StoreOption = None,
    as_json: AsJson = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Compare two checkpoints: every score by the same windows, sizes, layers, settings."""
    from orchestrator.run import view_of

    view = view_of(resolved_grid(grid, store))
    sides = [find_side(view.cells, view.dense, text) for text in (first, second)]
    both = compare_sides(*sides)
    if as_json:
        print(json.dumps(redact_tree(both.as_dict()), indent=2))
    else:
        print_comparison(both, console())
