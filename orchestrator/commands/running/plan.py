"""``trsp plan``: what a grid would run; ``trsp schema``: what a grid file may say."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.app import BAD_INPUT, RUNNING, app
from orchestrator.commands.options import AllowVariables, AsJson, GridFile
from orchestrator.grid.reference.json_schema import json_schema
from orchestrator.grid.schema import load_grid
from orchestrator.redact import redact_tree
from orchestrator.report.plan_tables import print_plan
from orchestrator.report.printing import console

if TYPE_CHECKING:
    from orchestrator.costs.cost import GridCost
    from orchestrator.costs.machine import Machine
    from orchestrator.stages.resolve import Resolved


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
    cost = None if grid_plan.refusals else _cost(resolved, machine, price, held)
    if as_json:
        whole = {**grid_plan.as_dict(), "cost": cost and cost.as_dict()}
        print(json.dumps(redact_tree(whole), indent=2))
    else:
        print_plan(grid_plan, str(file), out)
        if cost is not None:
            print_cost(cost, out)
    raise typer.Exit(BAD_INPUT if grid_plan.refusals else 0)


def _cost(
    offline: "Resolved", machine: "Machine", price: float | None, held: bool | None
) -> "GridCost":
    """Return what a grid costs, by what its store holds where that is asked for or at hand."""
    from orchestrator.costs.at_hand import store_is_at_hand
    from orchestrator.costs.of_grid import cost_of

    if not (store_is_at_hand(offline.grid) if held is None else held):
        return cost_of(offline, machine, price)
    from orchestrator.costs.held import cost_in
    from orchestrator.kept_grids.lookup import as_it_ran
    from orchestrator.stages.resolve import resolve
    from orchestrator.store.patience import in_words
    from orchestrator.store.store import Store

    uri = offline.grid.storage.store
    with in_words(uri):
        return cost_in(Store(uri), as_it_ran(resolve(offline.grid)), machine, price)


@app.command(rich_help_panel=RUNNING)
def schema() -> None:
    """Print the JSON Schema of grid files, for editors."""
    print(json.dumps(json_schema(), indent=2))
