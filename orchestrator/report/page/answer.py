"""The answer for one budget, as a page shows it."""

from dataclasses import dataclass

from orchestrator.redact import redact
from orchestrator.report.choice_tables import load_snippet, margin, shortfall
from orchestrator.report.page.tables import layer_list, metric_value
from orchestrator.report.printing import format_metric
from orchestrator.views.aliases import alias_name
from orchestrator.views.budget import Choice
from orchestrator.views.grid_view import CellView, DenseView, GridView


@dataclass(frozen=True)
class Fact:
    """One thing said of a chosen cell."""

    name: str
    value: str


@dataclass(frozen=True)
class Answer:
    """The best checkpoint under a budget. ``best`` is "" where there is none, and ``why`` says why.

    ``verdict``: ``clear``, ``tie``, ``alone`` (no other meets the budget) or ``unsure``.
    """

    alias: str
    question: str
    best: str
    why: tuple[str, ...]
    facts: tuple[Fact, ...]
    verdict: str
    runner_up: str
    warnings: tuple[str, ...]
    load: str


def answer(view: GridView, choice: Choice) -> Answer:
    """Return what a page says of a choice that was made in this view."""
    best, name = choice.best, alias_name(view.name, choice.budget)
    dense = next((each for each in view.dense if best and each.model == best.cell.model), None)
    return Answer(
        alias=name,
        question=_question(choice),
        best=best.cell.name if best else "",
        why=() if best else tuple(shortfall(choice)),
        facts=_facts(choice, best, dense) if best else (),
        verdict=_verdict(choice),
        runner_up=_runner_up(choice) if best else "",
        warnings=choice.warnings,
        load=redact("\n".join(load_snippet(best))),
    )


def _question(choice: Choice) -> str:
    limits = [
        f"{name} ≤ {format_metric(name, limit)}" for name, limit in choice.budget.limits.items()
    ]
    return f"best {choice.metric} with {' and '.join(limits) or 'no limit'}"


def _facts(choice: Choice, best: CellView, dense: DenseView | None) -> tuple[Fact, ...]:
    metrics = best.metrics()
    facts = [Fact(choice.metric, metric_value(best, choice.metric).text)]
    if dense is not None and choice.metric in dense.metrics():
        facts.append(Fact("unpruned", metric_value(dense, choice.metric).text))
    removed = f"{layer_list(best.layers)} of {best.cell.model.layers}"
    facts.append(Fact("removed layers", removed))
    sizes = ("params", "bytes", "latency_ms", *choice.budget.limits)
    facts += [
        Fact(_TITLES.get(name, name), format_metric(name, metrics[name]))
        for name in dict.fromkeys(sizes)
        if name in metrics
    ]
    return tuple(facts)


_TITLES = {
    "bytes": "size",
    "latency_ms": "latency (ms)",
    "kv_bytes_per_token": "kv bytes per token",
}


def _verdict(choice: Choice) -> str:
    if choice.best is None:
        return "none"
    if choice.runner_up is None:
        return "alone"
    if choice.comparison is None:
        return "unsure"
    return "tie" if choice.comparison.tie else "clear"


def _runner_up(choice: Choice) -> str:
    if choice.runner_up is None:
        return "no other cell meets this budget"
    return f"runner-up: {choice.runner_up.cell.name}; {margin(choice)}".replace("+-", "±")
