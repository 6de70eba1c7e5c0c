"""The command line: ``trsp run | plan | best | status | measure | doctor | schema``.

Parses and prints; what is heavy is imported by the commands that need it.
Exit codes: 0 done, 1 a stage failed, 2 what was asked for cannot be done (bad input), 3 nothing
meets the budget.
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from orchestrator.doctor.findings.finding import exit_code
from orchestrator.grid.budgets import Budget
from orchestrator.grid.locations import ALLOWED_VARIABLES, allow_variables
from orchestrator.grid.schema import Grid, json_schema, load_grid
from orchestrator.grid.yaml_file import explain
from orchestrator.redact import redact, redact_tree
from orchestrator.report.choice_json import choice_dict
from orchestrator.report.choice_tables import print_choice
from orchestrator.report.examination_table import print_examination
from orchestrator.report.measurement_tables import print_measurements
from orchestrator.report.plan_tables import print_plan
from orchestrator.report.printing import console, print_line
from orchestrator.report.status_tables import print_status
from orchestrator.views.aliases import alias_name
from orchestrator.views.budget import choose
from orchestrator.views.grid_view import GridView
from orchestrator.views.measurements import Selection
from orchestrator.views.versions import with_version_warnings
from trsp.errors import InvalidInputError, TrspError

BAD_INPUT, NOTHING_WITHIN_BUDGET = 2, 3

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Structured pruning of language models by grids: what is wanted in, "
    "the best checkpoint under a budget out.",
)
GridFile = Annotated[
    Path, typer.Argument(help="A grid file, such as jobs/demo.yaml.", show_default=False)
]


def _allow(names: list[str] | None) -> list[str] | None:
    """Let the grid file see these variables of the environment."""
    allow_variables(names or ())
    return names


# Its callback comes before the command's function: that finds the variables allowed.
AllowVariables = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-variable",
        metavar="NAME",
        callback=_allow,
        help="Variable of the environment that the file may use beside TRSP_*, HOME and USER; "
        f"may be given several times. Also: {ALLOWED_VARIABLES}=NAME,NAME in the environment.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
MaxParams = Annotated[str | None, typer.Option(help="For example 110M.")]
MaxBytes = Annotated[str | None, typer.Option(help="Size of the weights, for example 250MB.")]
MaxLatency = Annotated[float | None, typer.Option(help="Prompt latency on the measured hardware.")]
MaxKvBytes = Annotated[
    str | None, typer.Option(help="Keys and values of one token, for example 9kB.")
]
Address = Annotated[
    str | None, typer.Option(envvar="RAY_ADDRESS", help="Ray cluster; default: a local Ray.")
]
Metric = Annotated[
    str | None, typer.Option(help="For example perplexity/wiki; default: the first perplexity.")
]


@app.command()
def run(
    file: GridFile,
    address: Address = None,
    allow_variable: AllowVariables = None,
) -> None:
    """Make every result of a grid exist; what the store already has is not done again."""
    from orchestrator.run import run_grid

    raise typer.Exit(run_grid(file, address=address))


@app.command()
def plan(file: GridFile, as_json: AsJson = False, allow_variable: AllowVariables = None) -> None:
    """Show what a grid would run: cells, stages after sharing, refusals.

    Needs no cluster and no network.
    """
    from orchestrator.report.plan import make_plan
    from orchestrator.stages.resolve import resolve_offline

    grid_plan = make_plan(resolve_offline(load_grid(file)))
    if as_json:
        print(json.dumps(redact_tree(grid_plan.as_dict()), indent=2))
    else:
        print_plan(grid_plan, str(file), console())
    raise typer.Exit(BAD_INPUT if grid_plan.refusals else 0)


@app.command()
def best(
    file: GridFile,
    max_params: MaxParams = None,
    max_bytes: MaxBytes = None,
    max_latency_ms: MaxLatency = None,
    max_kv_bytes_per_token: MaxKvBytes = None,
    metric: Metric = None,
    as_json: AsJson = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Say which checkpoint is best under a budget, and how to load it.

    Without limits: under each budget of the file.
    """
    limits = {
        "max_params": max_params,
        "max_bytes": max_bytes,
        "max_latency_ms": max_latency_ms,
        "max_kv_bytes_per_token": max_kv_bytes_per_token,
        "metric": metric,
    }
    grid = load_grid(file)
    budgets = _budgets(grid, {name: value for name, value in limits.items() if value is not None})
    raise typer.Exit(_answer(grid, budgets, as_json))


@app.command()
def status(file: GridFile, allow_variable: AllowVariables = None) -> None:
    """Show every cell of a grid as the store knows it now. Starts nothing."""
    grid = load_grid(file)
    print_status(_view(grid), grid.headline_metrics, console())


@app.command()
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


@app.command()
def doctor(
    file: Annotated[Path | None, typer.Argument(help="A grid file; default: none.")] = None,
    address: Address = None,
    as_json: AsJson = False,
    allow_variable: AllowVariables = None,
) -> None:
    """Examine cluster, store and tracking server, in two minutes: what is wrong, and the cure."""
    from orchestrator.doctor.examine import examine

    grid = load_grid(file) if file else None
    found = examine(grid, address, partial(print_line, console(stderr=True)))
    if as_json:
        print(json.dumps([finding.as_dict() for finding in found.findings], indent=2))
    else:
        print_examination(found.findings, found.nodes, found.seconds, console())
    raise typer.Exit(exit_code(found.findings))


@app.command()
def schema() -> None:
    """Print the JSON Schema of grid files, for editors."""
    print(json.dumps(json_schema(), indent=2))


def _view(grid: Grid) -> GridView:
    from orchestrator.run import view_offline

    return view_offline(grid)


def _budgets(grid: Grid, limits: dict[str, Any]) -> tuple[Budget, ...]:
    """The budgets that the command line asks about.

    With a limit, that one budget; without any, the file's budgets, by the metric asked for if one
    is; where the file has none, a budget without limits. Raises InvalidInputError.
    """
    try:
        budgets: tuple[Budget, ...] = (Budget.model_validate(limits),)
        if not limits.keys() - {"metric"} and grid.budgets:
            budgets = tuple(budget.model_copy(update=limits) for budget in grid.budgets)
        Grid.model_validate({**dict(grid), "budgets": budgets})
    except ValidationError as error:
        raise InvalidInputError(explain(error, "budget")) from None
    return budgets


def _answer(grid: Grid, budgets: tuple[Budget, ...], as_json: bool) -> int:
    """Print the best checkpoint under each budget; return the exit code."""
    view = _view(grid)
    cells = view.cells
    choices = [
        with_version_warnings(choose(cells, budget, grid.metric(budget)), view.dense)
        for budget in budgets
    ]
    if as_json:
        shown = [choice_dict(choice, cells, _alias(grid, choice.budget)) for choice in choices]
        print(json.dumps(redact_tree(shown), indent=2))
    else:
        for choice in choices:
            print_choice(choice, cells, console(), _alias(grid, choice.budget) or "")
    return 0 if all(choice.best for choice in choices) else NOTHING_WITHIN_BUDGET


def _alias(grid: Grid, budget: Budget) -> str | None:
    """The alias of one of the grid's own budgets; None for one asked about here."""
    return alias_name(grid.name, budget) if budget in grid.budgets else None


def _with_command(arguments: list[str]) -> list[str]:
    """The arguments, with ``run`` before a grid file that comes first.

    ``FILE ...`` means ``run FILE ...``: what an executable grid file's first line comes to.
    """
    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    first = arguments[0] if arguments else ""
    names_file = (
        first not in known
        and not first.startswith("-")
        and (Path(first).suffix in (".yaml", ".yml") or Path(first).is_file())
    )
    return ["run", *arguments] if names_file else arguments


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit. An error that a user can cure is printed without a traceback.

    ``arguments``: default those that the process was started with.
    """
    try:
        app(_with_command(sys.argv[1:] if arguments is None else arguments), prog_name="trsp")
    except TrspError as error:
        for line in str(error).splitlines():
            print(f"error: {redact(line)}", file=sys.stderr)
        sys.exit(BAD_INPUT)
