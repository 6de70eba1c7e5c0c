"""Plans, choices and cells as text for people. Decides nothing; knows no store, cluster or tracking server."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.report.plan import Plan
from orchestrator.views.budget import Choice, pareto_front
from orchestrator.views.grid_view import CellView, GridView, Status
from trsp.records import lower_is_better

_PIPED_WIDTH = 160  # columns where there is no terminal to ask
_STYLES = {
    Status.DONE: "green",
    Status.FAILED: "red",
    Status.KILLED: "red",
    Status.RUNNING: "cyan",
    Status.WAITING: "dim",
}
_STATUS_ORDER = (Status.FAILED, Status.KILLED, Status.RUNNING, Status.DONE, Status.WAITING)
_COLUMNS = {
    "params": "params",
    "bytes": "size",
    "kv_bytes_per_token": "kv B/token",
    "latency_ms": "latency ms",
}


def console(stderr: bool = False) -> Console:
    """As wide as the terminal; wide enough for every column where the output goes to a file."""
    plain = Console(stderr=stderr, highlight=False)
    return (
        plain if plain.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPED_WIDTH)
    )


def number(value: float | None) -> str:
    """Four significant digits, whole numbers from 1000 up with thousands parted: ``28.61``, ``1,234``; ``-`` for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _quantity(name: str, value: float | None) -> str:
    unit = {"params": "M", "bytes": "MB"}.get(name)
    return (
        f"{value / 1e6:,.1f}{unit}"
        if unit and value is not None and value >= 1e5
        else number(value)
    )


def _line(out: Console, text: str) -> None:
    """A line as it is: paths and snippets are not wrapped, brackets are not markup."""
    out.print(Text(text), soft_wrap=True)


# --- plan ---------------------------------------------------------------------------------------------------------------


def print_plan(plan: Plan, file: str, out: Console) -> None:
    _line(out, f"{file}: grid {plan.name}, {plan.cells} cells")
    models = Table("model", "layers", "removed", "cells")
    for model in plan.models:
        removed = ", ".join(map(str, model.removed)) or "unknown"
        models.add_row(
            escape(model.name), str(model.layers or "unknown"), removed, str(model.cells)
        )
    out.print(models)
    stages = Table("stage", "one a cell", "shared: at most")
    for count in (*plan.stages, plan.rounds):
        stages.add_row(count.kind, str(count.naive), str(count.at_most))
    out.print(stages)
    if plan.layouts:
        out.print(_layouts_table(plan))
    for layout in plan.layouts:
        if layout.refusal:
            _line(out, f"cannot run: {layout.model} {layout.stage}: {layout.refusal}")
    for warning in plan.warnings:
        _line(out, f"warning: {warning}")
    for refusal in plan.refusals:
        _line(out, f"refused: {file}: {refusal}")


def _layouts_table(plan: Plan) -> Table:
    table = Table("model", "stage", "runs on", "GPU memory", "host memory")
    for each in plan.layouts:
        gpu = "-" if each.gpu_bytes is None else f"{each.gpu_bytes / 1e9:,.1f} GB"
        host = f"{each.host_bytes / 1e9:,.1f} GB" if each.host_bytes else "-"
        table.add_row(
            escape(each.model),
            escape(each.stage),
            escape(each.layout) or "nothing that fits",
            gpu,
            host,
        )
    return table


# --- best ---------------------------------------------------------------------------------------------------------------


def print_choice(choice: Choice, cells: Sequence[CellView], out: Console) -> None:
    limits = (
        ", ".join(
            f"{name} <= {_quantity(name, limit)}" for name, limit in choice.budget.limits.items()
        )
        or "no limit"
    )
    _line(
        out,
        f"{choice.budget.alias}: best {choice.metric} with {limits} ({choice.candidates} of {choice.cells} cells known)",
    )
    for line in _verdict(choice):
        _line(out, line)
    x = next(iter(choice.budget.limits), "params")
    named = {"best": choice.best, "runner-up": choice.runner_up, "nearest": choice.nearest}
    rows = {id(cell): (cell, role) for role, cell in named.items() if cell is not None}
    for cell in pareto_front(cells, x, choice.metric):
        role = rows[id(cell)][1] + ", front" if id(cell) in rows else "front"
        rows[id(cell)] = (cell, role)
    if rows:
        notes = {key: role for key, (_, role) in rows.items()}
        out.print(_cells([cell for cell, _ in rows.values()], [*_COLUMNS, choice.metric], notes))
        _line(out, f"front: no other is as good in both {x} and {choice.metric}")
    for line in load_snippet(choice.best):
        _line(out, line)


def _verdict(choice: Choice) -> Iterator[str]:
    if choice.best is None:
        if choice.nearest is None:
            yield f"no cell has {choice.metric} and every number that the budget limits; see 'trsp status'"
            return
        over = 100 * ((choice.overshoot or 1) - 1)
        yield f"nothing meets this budget; nearest is {choice.nearest.cell.name}, {over:.1f} % above it"
        return
    yield f"best: {choice.best.cell.name}"
    if choice.runner_up is None:
        yield "no other cell meets this budget"
        return
    yield f"runner-up: {choice.runner_up.cell.name}; {_margin(choice)}"


def _margin(choice: Choice) -> str:
    comparison = choice.comparison
    if comparison is None:
        return "how certain the difference is cannot be known from these scores"
    over = (
        f"nats a token over the same {comparison.windows} windows"
        if comparison.paired
        else f"in {choice.metric}, unpaired"
    )
    by = f"{comparison.difference:+.4g} +- {comparison.stderr:.2g} (standard error) {over}"
    return f"a tie: the difference, {by}, is within noise" if comparison.tie else f"behind by {by}"


def load_snippet(cell: CellView | None) -> tuple[str, ...]:
    """Python that loads the checkpoint; nothing where there is none."""
    if cell is None or cell.checkpoint_uri is None:
        return ()
    uri = cell.checkpoint_uri.removeprefix("file://")
    copy: tuple[str, ...] = ()
    if "://" in uri:
        copy = (f'import pyarrow.fs; pyarrow.fs.copy_files("{uri}", "checkpoint")',)
        uri = "checkpoint"
    return (
        *copy,
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        f'model = AutoModelForCausalLM.from_pretrained("{uri}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{uri}")',
    )


# --- status -------------------------------------------------------------------------------------------------------------


def print_status(view: GridView, metrics: Sequence[str], out: Console) -> None:
    done = sum(cell.status is Status.DONE for cell in view.cells)
    _line(
        out, f"grid {view.name} ({view.key}): {view.status}, {done} of {len(view.cells)} cells done"
    )
    out.print(status_table(view, metrics))


def status_table(view: GridView, metrics: Sequence[str], limit: int | None = None) -> Table:
    """The unpruned models, then the cells: what failed, what runs, what is done (best first metric on top), what waits."""
    columns = ("params", *metrics, "latency_ms")
    table = Table(
        "cell", "removed layers", *(_COLUMNS.get(name, name) for name in columns), "status"
    )
    for dense in view.dense:
        numbers = dense.metrics()
        values = [_quantity(name, numbers.get(name)) for name in columns]
        table.add_row(
            escape(f"{dense.model.name} dense"),
            "-",
            *values,
            _status_text(dense.status, "", dense.reason),
        )
    ordered = sorted(
        view.cells, key=lambda cell: (_STATUS_ORDER.index(cell.status), _first(cell, metrics))
    )
    for cell in ordered[:limit]:
        table.add_row(*_cell_row(cell, columns), _status_text(cell.status, cell.stage, cell.reason))
    if limit is not None and len(ordered) > limit:
        table.add_row(f"and {len(ordered) - limit} more")
    return table


def _first(cell: CellView, metrics: Sequence[str]) -> float:
    value = cell.metrics().get(metrics[0], float("inf")) if metrics else 0.0
    return value if not metrics or lower_is_better(metrics[0]) else -value


def _status_text(status: Status, stage: str, reason: str) -> Text:
    text = status if status is Status.DONE or not stage else f"{status}: {stage}"
    return Text(f"{text} ({reason})" if reason else text, _STYLES.get(status, ""))


def _cell_row(cell: CellView, columns: Sequence[str]) -> list[str]:
    numbers = cell.metrics()
    layers = ", ".join(map(str, sorted(cell.layers))) if cell.layers is not None else "-"
    return [
        escape(cell.cell.name),
        layers,
        *(_quantity(name, numbers.get(name)) for name in columns),
    ]


def _cells(cells: Sequence[CellView], columns: Sequence[str], notes: Mapping[int, str]) -> Table:
    table = Table("cell", "removed layers", *(_COLUMNS.get(name, name) for name in columns), "")
    for cell in cells:
        table.add_row(
            *_cell_row(cell, columns), Text(notes[id(cell)], _STYLES.get(cell.status, ""))
        )
    return table
