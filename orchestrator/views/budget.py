"""Which checkpoint is best under a budget, how sure that is, and which are worth choosing at all. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot, sqrt
from statistics import fmean, stdev

from orchestrator.grid.budgets import Budget
from orchestrator.views.grid_view import CellView
from trsp.records import EvaluationRecord, lower_is_better

NOISE_STANDARD_ERRORS = 2.0  # nearer than this, two checkpoints cannot be told apart


@dataclass(frozen=True)
class Comparison:
    """Runner-up minus best. ``paired``: over the same windows, in nats a token; otherwise in the metric's own unit.

    The standard error is of the mean difference; unpaired, it is at most what pairing would have given for like items.
    """

    difference: float
    stderr: float
    paired: bool
    windows: int = 0

    @property
    def tie(self) -> bool:
        return abs(self.difference) < NOISE_STANDARD_ERRORS * self.stderr


@dataclass(frozen=True)
class Choice:
    """The answer for one budget. ``nearest`` only where nothing meets it; ``overshoot``: by how much, 1.2 = 20 % above.

    ``candidates`` had every number that the question needs, of ``cells`` in all.
    """

    budget: Budget
    metric: str
    best: CellView | None = None
    runner_up: CellView | None = None
    comparison: Comparison | None = None
    nearest: CellView | None = None
    overshoot: float | None = None
    candidates: int = 0
    cells: int = 0


def choose(cells: Sequence[CellView], budget: Budget, metric: str | None = None) -> Choice:
    """The cell with the best metric within all limits. Equal ones: the smaller, then by name, so that the answer is stable.

    The runner-up is another checkpoint: two cells that chose the same layers share one.

    ``metric``: default the budget's, else the first perplexity that a cell was scored by, else the mean accuracy.
    """
    metric = metric or budget.metric or _first_perplexity(cells)
    numbers = {id(cell): cell.metrics() for cell in cells}
    known = [cell for cell in cells if {metric, *budget.limits} <= numbers[id(cell)].keys()]
    known.sort(key=lambda cell: _rank(cell, numbers[id(cell)], metric))
    excess = {id(cell): _overshoot(numbers[id(cell)], budget.limits) for cell in known}
    within = [cell for cell in known if excess[id(cell)] <= 1]
    if not within:
        nearest = min(known, key=lambda cell: excess[id(cell)], default=None)
        overshoot = excess[id(nearest)] if nearest else None
        return Choice(
            budget,
            metric,
            nearest=nearest,
            overshoot=overshoot,
            candidates=len(known),
            cells=len(cells),
        )
    best = within[0]
    others = (
        cell
        for cell in within
        if cell.checkpoint_uri is None or cell.checkpoint_uri != best.checkpoint_uri
    )
    runner_up = next((cell for cell in others if cell is not best), None)
    comparison = compare(best.evaluation, runner_up.evaluation, metric) if runner_up else None
    return Choice(
        budget, metric, best, runner_up, comparison, candidates=len(known), cells=len(cells)
    )


def _first_perplexity(cells: Sequence[CellView]) -> str:
    for cell in cells:
        for name in cell.evaluation.scores if cell.evaluation else ():
            if name.startswith("perplexity/"):
                return name
    return "accuracy"


def _rank(cell: CellView, numbers: Mapping[str, float], metric: str) -> tuple[float, float, str]:
    value = numbers[metric] if lower_is_better(metric) else -numbers[metric]
    return value, numbers.get("params", 0), cell.cell.name


def _overshoot(numbers: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """The largest share of a limit that is used; above 1 the budget is not met."""
    return max((numbers[name] / limit for name, limit in limits.items()), default=0.0)


def compare(
    best: EvaluationRecord | None, other: EvaluationRecord | None, metric: str
) -> Comparison | None:
    """How far apart two checkpoints are, and how well that is known; None where it cannot be known.

    Perplexities are compared window by window: texts differ far more among themselves than two checkpoints do.
    """
    if best is None or other is None:
        return None
    text = metric.removeprefix("perplexity/")
    pairs = (best.window_nll.get(text, ()), other.window_nll.get(text, ()))
    if metric.startswith("perplexity/") and len(pairs[0]) == len(pairs[1]) > 1:
        differences = [b - a for a, b in zip(*pairs, strict=True)]
        return Comparison(
            fmean(differences), stdev(differences) / sqrt(len(differences)), True, len(differences)
        )
    scores = (best.scores.get(metric), other.scores.get(metric))
    if (
        scores[0] is None
        or scores[1] is None
        or scores[0].stderr is None
        or scores[1].stderr is None
    ):
        return None
    return Comparison(
        scores[1].value - scores[0].value, hypot(scores[0].stderr, scores[1].stderr), False
    )


def pareto_front(cells: Sequence[CellView], x: str, metric: str) -> tuple[CellView, ...]:
    """Cells of which none is as good in both ``x`` and ``metric`` and better in one, from the cheapest ``x`` up."""
    signs = [1 if lower_is_better(name) else -1 for name in (x, metric)]
    costs = []
    for cell in cells:
        numbers = cell.metrics()
        if x in numbers and metric in numbers:
            costs.append((signs[0] * numbers[x], signs[1] * numbers[metric], cell.cell.name, cell))
    front: list[CellView] = []
    lowest = float("inf")
    for _, cost, _, cell in sorted(costs, key=lambda entry: entry[:3]):
        if cost < lowest:
            front.append(cell)
            lowest = cost
    return tuple(front)
