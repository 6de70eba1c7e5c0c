"""``trsp plan``: what a grid would run; ``trsp schema``: what a grid file may say."""

import json
from typing import Annotated

import typer

from orchestrator.commands.app import BAD_INPUT, RUNNING, app
from orchestrator.commands.options import AllowVariables, AsJson, GridFile
from orchestrator.grid.reference.json_schema import json_schema
from orchestrator.grid.schema import load_grid
from orchestrator.redact import redact_tree
from orchestrator.report.plan_tables import print_plan
from orchestrator.report.printing import console

Gpus = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Count for so many GPUs. Default: what the file says, or this machine's cores.",
        show_default=False,
    ),
]
GpuType = Annotated[
    str | None, typer.Option("--gpu", metavar="TYPE", help="Their type: H100, A100, L40S, ...")
]
Price = Annotated[
    float | None,
    typer.Option(min=0, help="Of one GPU-hour, or core-hour without GPUs, in any currency."),
]
Held = Annotated[
    bool | None,
    typer.Option(
        "--held/--no-held",
        help="Count what the store holds as done, and learn from its times. Default: where that "
        "needs no network and little reading.",
    ),
]


@app.command(rich_help_panel=RUNNING)
def plan(
    file: GridFile,
    gpus: Gpus = None,
    gpu: GpuType = None,
    price: Price = None,
    held: Held = None,
    as_json: AsJson = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Show what a grid would run and cost: cells, stages, hours, bytes. Needs no cluster."""
    from orchestrator.costs.machine import planned_machine
    from orchestrator.costs.planned import planned_cost
    from orchestrator.report.cost.tables import print_cost
    from orchestrator.report.plan import make_plan
    from orchestrator.stages.resolve import resolve_offline

    grid, out = load_grid(file), console()
    machine = planned_machine(grid.resources, gpus, gpu)
    resolved = resolve_offline(grid)
    if gpus is None and gpu is None:
        grid_plan = make_plan(resolved)
    else:
        grid_plan = make_plan(resolved, machine.capacity, machine.resources)
    cost = None if grid_plan.refusals else planned_cost(resolved, machine, price, held)
    if as_json:
        whole = {**grid_plan.as_dict(), "cost": cost and cost.as_dict()}
        print(json.dumps(redact_tree(whole), indent=2))
    else:
        print_plan(grid_plan, str(file), out)
        if cost is not None:
            print_cost(cost, out)
    raise typer.Exit(BAD_INPUT if grid_plan.refusals else 0)


@app.command(rich_help_panel=RUNNING)
def schema() -> None:
    """Print the JSON Schema of grid files, for editors."""
    print(json.dumps(json_schema(), indent=2))
