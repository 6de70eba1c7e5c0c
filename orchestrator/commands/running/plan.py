"""``trsp plan``: what a grid would run; ``trsp schema``: what a grid file may say."""

import json

import typer

from orchestrator.commands.app import BAD_INPUT, RUNNING, app
from orchestrator.commands.options import AllowVariables, AsJson, GridFile
from orchestrator.grid.reference.json_schema import json_schema
from orchestrator.grid.schema import load_grid
from orchestrator.redact import redact_tree
from orchestrator.report.plan_tables import print_plan
from orchestrator.report.printing import console


@app.command(rich_help_panel=RUNNING)
def plan(file: GridFile, as_json: AsJson = False, allow_variable: AllowVariables = None) -> None:
    """Show what a grid would run: cells, stages after sharing, refusals. Needs no cluster."""
    from orchestrator.report.plan import make_plan
    from orchestrator.stages.resolve import resolve_offline

    grid_plan = make_plan(resolve_offline(load_grid(file)))
    if as_json:
        print(json.dumps(redact_tree(grid_plan.as_dict()), indent=2))
    else:
        print_plan(grid_plan, str(file), console())
    raise typer.Exit(BAD_INPUT if grid_plan.refusals else 0)


@app.command(rich_help_panel=RUNNING)
def schema() -> None:
    """Print the JSON Schema of grid files, for editors."""
    print(json.dumps(json_schema(), indent=2))
