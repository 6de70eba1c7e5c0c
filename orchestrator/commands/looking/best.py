"""``trsp best``: which checkpoint is best under a budget."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from orchestrator.commands.app import LOOKING, NOTHING_WITHIN_BUDGET, app
from orchestrator.commands.looking.which import StoreOption, WhichGrid, resolved_grid
from orchestrator.commands.options import AllowVariables, AsJson
from orchestrator.grid.budgets import Budget
from orchestrator.grid.schema import Grid
from orchestrator.grid.yaml_file import explain
from orchestrator.redact import redact, redact_tree
from orchestrator.report.choice_json import choice_dict
from orchestrator.report.choice_tables import gone_lines, print_choice
from orchestrator.report.printing import console, print_line
from orchestrator.views.aliases import alias_name
from orchestrator.views.answers import answer, with_reaches
from orchestrator.views.budget import Choice
from trsp.errors import InvalidInputError

if TYPE_CHECKING:
    from orchestrator.stages.resolve import Resolved

MaxParams = Annotated[str | None, typer.Option(help="For example 110M.")]
MaxBytes = Annotated[str | None, typer.Option(help="Size of the weights, for example 250MB.")]
MaxLatency = Annotated[float | None, typer.Option(help="Prompt latency on the measured hardware.")]
MaxKvBytes = Annotated[
    str | None, typer.Option(help="Keys and values of one token, for example 9kB.")
]
Metric = Annotated[
    str | None, typer.Option(help="For example perplexity/wiki; default: the first perplexity.")
]
PathOnly = Annotated[
    bool, typer.Option("--path", help="Print the checkpoint's folder or address, nothing else.")
]


@app.command(rich_help_panel=LOOKING)
def best(
    grid: WhichGrid,
    store: StoreOption = None,
    max_params: MaxParams = None,
    max_bytes: MaxBytes = None,
    max_latency_ms: MaxLatency = None,
    max_kv_bytes_per_token: MaxKvBytes = None,
    metric: Metric = None,
    path: PathOnly = False,
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
    given = {name: value for name, value in limits.items() if value is not None}
    resolved = resolved_grid(grid, store)
    form = "path" if path else "json" if as_json else "text"
    raise typer.Exit(_answer(resolved, _budgets(resolved.grid, given), form))


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


def _answer(resolved: "Resolved", budgets: tuple[Budget, ...], form: str) -> int:
    """Print the best checkpoint under each budget; return the exit code.

    ``form``: ``text``, ``json`` or ``path``: of each budget that one meets, a line.
    """
    from orchestrator.run import view_of

    grid, view = resolved.grid, view_of(resolved)
    cells = view.cells
    choices = [with_reaches(answer(view, budget), view, grid.precision) for budget in budgets]
    if form == "path":
        for choice in choices:
            _print_path(choice)
    elif form == "json":
        shown = [choice_dict(choice, cells, _alias(grid, choice.budget)) for choice in choices]
        print(json.dumps(redact_tree(shown), indent=2))
    else:
        for choice in choices:
            print_choice(choice, cells, console(), _alias(grid, choice.budget) or "")
    return 0 if all(choice.best for choice in choices) else NOTHING_WITHIN_BUDGET


def _print_path(choice: Choice) -> None:
    """Print where the best checkpoint is; why there is none goes to stderr."""
    if choice.best is not None and choice.best.checkpoint_uri is not None:
        print(redact(choice.best.checkpoint_uri.removeprefix("file://")))
        return
    nothing = f"nothing meets {choice.budget.alias}"
    for line in tuple(gone_lines(choice.best)) or (nothing,):
        print_line(console(stderr=True), line)


def _alias(grid: Grid, budget: Budget) -> str | None:
    """The alias of one of the grid's own budgets; None for one asked about here."""
    return alias_name(grid.name, budget) if budget in grid.budgets else None
