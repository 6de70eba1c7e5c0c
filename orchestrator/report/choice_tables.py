"""``trsp best`` as text for people: the best checkpoint under a budget and how to load it.

Decides nothing; knows choices and views alone.
"""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.grid.budgets import Budget
from orchestrator.grid.fitting.reach import Reach
from orchestrator.redact import HIDDEN
from orchestrator.report.printing import (
    SIZE_COLUMNS,
    STYLES,
    cell_row,
    format_metric,
    headers,
    print_line,
)
from orchestrator.views.budget import Choice, Comparison, pareto_front
from orchestrator.views.grid_view import CellView


def print_choice(choice: Choice, cells: Sequence[CellView], out: Console, alias: str = "") -> None:
    """Print the answer for one budget, the cells worth a look, and Python that loads the best.

    ``alias``: what marks the best in the registry once the grid is done; default: nothing does.
    """
    warnings = (f"warning: {warning}" for warning in choice.warnings)
    for line in (_question(choice, alias), *_answer(choice), *warnings):
        print_line(out, line)
    x = choice_axis(choice)
    rows = _rows(choice, pareto_front(cells, x, choice.metric))
    if rows:
        out.print(_choice_table(rows, [*SIZE_COLUMNS, choice.metric]))
        print_line(out, f"front: no other is as good in both {x} and {choice.metric}")
    for line in load_snippet(choice.best):
        print_line(out, line)


def choice_axis(choice: Choice) -> str:
    """Return the number against which the Pareto front is drawn: the budget's first limit."""
    return next(iter(choice.budget.limits), "params")


def load_snippet(cell: CellView | None) -> tuple[str, ...]:
    """Return the lines of Python that load a cell's checkpoint; none where there is none.

    A checkpoint on an object store is copied to the working folder first. Credentials of the store
    are not shown; a comment says so.
    """
    if cell is None or cell.checkpoint_uri is None:
        return ()
    uri = cell.checkpoint_uri.removeprefix("file://")
    copy: tuple[str, ...] = ()
    if "://" in uri:
        copy = (f'import pyarrow.fs; pyarrow.fs.copy_files("{uri}", "checkpoint")',)
        if HIDDEN in uri:
            copy = (f"# write your credentials of the store in place of {HIDDEN}", *copy)
        uri = "checkpoint"
    return (
        *copy,
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        f'model = AutoModelForCausalLM.from_pretrained("{uri}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{uri}")',
    )


def _question(choice: Choice, alias: str) -> str:
    budget = choice.budget
    return (
        f"{alias or budget.alias}: best {choice.metric} with {limits_text(budget)} "
        f"({choice.candidates} of {choice.cells} cells known)"
    )


def limits_text(budget: Budget) -> str:
    """Return a budget's limits: ``params <= 125.0M, latency_ms <= 40``, or ``no limit``."""
    limits = [f"{name} <= {format_metric(name, limit)}" for name, limit in budget.limits.items()]
    return ", ".join(limits) or "no limit"


def _answer(choice: Choice) -> Iterator[str]:
    if choice.best is None:
        yield from shortfall(choice)
        return
    yield f"best: {choice.best.cell.name}"
    if choice.runner_up is None:
        yield "no other cell meets this budget"
    else:
        yield f"runner-up: {choice.runner_up.cell.name}; {margin(choice)}"
    for cell in (choice.best, choice.runner_up):
        if cell is not None and cell.slowed:
            yield f"note: {cell.cell.name} comes of {cell.slowed}: it diverged at the whole"


def shortfall(choice: Choice) -> Iterator[str]:
    """Yield why nothing is best under a budget: the nearest cell, and what would meet it."""
    yield _nearest(choice)
    yield from map(_reach, choice.reaches)


def _nearest(choice: Choice) -> str:
    if choice.nearest is None:
        return (
            f"no cell has {choice.metric} and every number that the budget limits; "
            "see 'trsp status'"
        )
    percent = 100 * ((choice.overshoot or 1) - 1)
    nearest = f"nearest is {choice.nearest.cell.name}, {percent:.1f} % above it"
    return f"nothing meets this budget; {nearest}"


def _reach(reach: Reach) -> str:
    """Return what would meet the budget: ``to meet it, 7 of 30 layers of m must go: ...``."""
    if reach.removed is None:
        return f"no ratio of {reach.model} would meet it: {reach.reason}"
    if reach.removed == 0:
        return f"{reach.model} would meet it as it is{_grounds(reach)}"
    needed = f"{reach.removed} of {reach.layers} layers of {reach.model} must go{_grounds(reach)}"
    if reach.asked:
        return f"to meet it, {needed}: the grid has such cells, see 'trsp status'"
    return f"to meet it, {needed}: add {reach.removed}/{reach.layers} to the file's ratios"


def _grounds(reach: Reach) -> str:
    """Return what an answer that is not exact rests on."""
    if reach.shapes > 1:
        return f", by the line through the latencies of {reach.shapes} shapes"
    return ", by the unpruned model's latency and the share of each layer" if reach.shapes else ""


def margin(choice: Choice) -> str:
    """Return how far the runner-up is from the best, and how sure that is; there must be one."""
    comparison = choice.comparison
    if comparison is None:
        return "how certain the difference is cannot be known from these scores"
    difference = _difference(comparison, choice.metric)
    if comparison.tie:
        return f"a tie: the difference, {difference}, is within noise"
    return f"behind by {difference}"


def _difference(comparison: Comparison, metric: str) -> str:
    value = f"{comparison.difference:+.4g} +- {comparison.stderr:.2g} (standard error)"
    if comparison.paired:
        return f"{value} nats per token over the same {comparison.windows} windows"
    return f"{value} in {metric}, unpaired"


def _rows(choice: Choice, front: Sequence[CellView]) -> list[tuple[CellView, str]]:
    """The cells that have a part in the choice, and which: the named ones, then the front's."""
    on_front = {cell.cell.key for cell in front}
    rows: list[tuple[CellView, str]] = []
    for cell, role in (
        (choice.best, "best"),
        (choice.runner_up, "runner-up"),
        (choice.nearest, "nearest"),
    ):
        if cell is not None:
            rows.append((cell, f"{role}, front" if cell.cell.key in on_front else role))
    named = {cell.cell.key for cell, _ in rows}
    return rows + [(cell, "front") for cell in front if cell.cell.key not in named]


def _choice_table(rows: Sequence[tuple[CellView, str]], names: Sequence[str]) -> Table:
    table = Table("cell", "removed layers", *headers(names), "")
    for cell, role in rows:
        remarks = "; ".join(filter(None, (role, cell.slowed)))
        table.add_row(*cell_row(cell, names), Text(remarks, STYLES.get(cell.status, "")))
    return table
