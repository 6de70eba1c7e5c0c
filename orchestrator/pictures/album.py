"""All pictures of a grid that are worth drawing now, each with what it shows. Draws none itself."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from orchestrator.grid.budgets import Budget
from orchestrator.pictures.fronts import pareto_front
from orchestrator.pictures.gates import gates_over_rounds
from orchestrator.pictures.layer_map import removed_layers
from orchestrator.pictures.ratios import quality_by_ratio
from orchestrator.views.grid_view import GridView

_SIZES = ("params", "peak_memory_bytes", "latency_ms")  # every grid's; others where limited
_WORDS = {
    "params": "parameters",
    "bytes": "size",
    "kv_bytes_per_token": "keys and values",
    "latency_ms": "latency",
    "peak_memory_bytes": "memory",
}


@dataclass(frozen=True)
class Picture:
    """A picture to be drawn. ``name``: for a file, unique in its grid; ``caption``: how to read."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


def grid_pictures(
    view: GridView, metrics: Sequence[str], budgets: Sequence[Budget] = ()
) -> Iterator[Picture]:
    """Yield the pictures of a grid's cells for which enough is known.

    ``metrics``: the scores that matter, the first of them most; that is a budget's own where it
    names none. ``budgets``: whose limits are shown.
    """
    known = [cell.metrics().keys() for cell in view.cells]
    limited = [(name, budget.metric or metrics[0]) for budget in budgets for name in budget.limits]
    wanted = [*((size, metrics[0]) for size in _SIZES), *limited] if metrics else []
    for size, metric in dict.fromkeys(wanted):
        if any({size, metric} <= names for names in known):
            yield _front(view, size, metric, budgets)
    for metric in metrics:
        if any(metric in names for names in known):
            yield _ratios(view, metric)
    if any(ranking.rounds for ranking in view.rankings):
        yield _layers(view)


def gate_pictures(view: GridView) -> Iterator[Picture]:
    """Yield a picture of the gates of every ranking that has learned some."""
    for ranking in view.rankings:
        if any(round_.gate_steps for round_ in ranking.rounds):
            yield Picture(
                ranking.key,
                ranking.name,
                "Rows are rounds, columns layers; a cross marks the layer that the round removed.",
                partial(gates_over_rounds, ranking),
            )


def _front(view: GridView, size: str, metric: str, budgets: Sequence[Budget]) -> Picture:
    return Picture(
        f"front-{size}-{_slug(metric)}",
        f"{metric} by {_WORDS.get(size, size)}",
        "Each mark is a cell: its colour the selector, its shape the transfer. Bars are standard "
        "errors; cells of one size stand side by side. Dashed: limits of the grid's budgets.",
        partial(pareto_front, view, size, metric, budgets),
    )


def _ratios(view: GridView, metric: str) -> Picture:
    return Picture(
        f"ratio-{_slug(metric)}",
        f"{metric} by ratio",
        "A line per method, through its best strengths at each ratio, the mean of their seeds; "
        "bars are standard errors, pale marks single cells.",
        partial(quality_by_ratio, view, metric),
    )


def _layers(view: GridView) -> Picture:
    return Picture(
        "layers",
        "Which layers go",
        "A row per ranking: the number says when a layer goes, its colour from which ratio on. A "
        "cell takes the first layers of its ranking.",
        partial(removed_layers, view),
    )


def _slug(metric: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in metric)
