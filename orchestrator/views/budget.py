"""Which checkpoint is best under a budget, how sure that is, and which are worth choosing at all.

Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot, sqrt
from statistics import fmean, stdev

from orchestrator.grid.budgets import Budget
from orchestrator.grid.fitting.reach import Reach
from orchestrator.views.grid_view import TIMES, CellView
from trsp.records import EvaluationRecord, Score, lower_is_better

NOISE_STANDARD_ERRORS = 2.0  # nearer than this, two checkpoints cannot be told apart
_PERPLEXITY = "perplexity/"  # before the name of a text


@dataclass(frozen=True)
class Comparison:
    """How far the runner-up is from the best: its value minus the best's."""

    difference: float  # paired: in nats per token; otherwise in the metric's own unit
    stderr: (
        float  # of the mean difference; unpaired: at most what pairing would give for like items
    )
    paired: bool  # over the same windows
    windows: int = 0

    @property
    def tie(self) -> bool:
        """Whether the two cannot be told apart."""
        return abs(self.difference) < NOISE_STANDARD_ERRORS * self.stderr


@dataclass(frozen=True)
class Choice:
    """The answer for one budget."""

    budget: Budget
    metric: str
    best: CellView | None = None
    runner_up: CellView | None = None
    comparison: Comparison | None = None
    nearest: CellView | None = None  # to the budget, only where nothing meets it
    overshoot: float | None = None  # by how much the nearest misses it: 1.2 = 20 % above
    warnings: tuple[str, ...] = ()  # why numbers may be wrong, or not to be compared
    reaches: tuple[Reach, ...] = ()  # by model, what would meet the budget where nothing does
    candidates: int = 0  # cells with every number that the question needs
    cells: int = 0  # in all


@dataclass(frozen=True)
class _Candidate:
    """A cell with every number that the question needs."""

    cell: CellView
    order: tuple[float, float, str]  # the best sorts first
    excess: float  # the largest share of a limit that is used; above 1 the budget is not met


def choose(cells: Sequence[CellView], budget: Budget, metric: str | None = None) -> Choice:
    """Return the cell with the best metric within all limits of the budget, and the runner-up.

    Of equal ones the smaller is chosen, then the first by name, so that the answer is stable.
    The runner-up is another checkpoint: two cells that chose the same layers share one.
    ``metric``: default the budget's, else the first perplexity there is, else the mean accuracy.
    """
    metric = metric or budget.metric or _first_perplexity(cells)
    candidates = sorted(_candidates(cells, budget, metric), key=lambda each: each.order)
    warnings = tuple(_speed_warnings(candidates)) if _rests_on_speed(metric, budget) else ()
    choice = Choice(budget, metric, warnings=warnings, candidates=len(candidates), cells=len(cells))
    within = [candidate.cell for candidate in candidates if candidate.excess <= 1]
    if within:
        return _with_best(choice, within)
    if not candidates:
        return choice
    nearest = min(candidates, key=lambda each: each.excess)
    return replace(choice, nearest=nearest.cell, overshoot=nearest.excess)


def _rests_on_speed(metric: str, budget: Budget) -> bool:
    """Whether the answer depends on measured times: by a limit, or as what is to be best."""
    return any(name.endswith(TIMES) for name in (metric, *budget.limits))


def _speed_warnings(candidates: Sequence[_Candidate]) -> Iterator[str]:
    """Yield what speaks against the measured times that a choice rests on; best first.

    A latency that is too high keeps a cell out of a budget as wrongly as one too low lets it in.
    """
    measured = [(each.cell, each.cell.measurement) for each in candidates if each.cell.measurement]
    doubted: dict[str, list[str]] = {}
    for cell, record in measured:
        if record.doubt:
            doubted.setdefault(record.doubt, []).append(cell.cell.name)
    for doubt, names in doubted.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"the latency of {names[0]}{others} is in doubt: {doubt}"
    hardware = sorted({record.hardware for _, record in measured})
    if len(hardware) > 1:
        yield f"latencies were measured on different hardware: {'; '.join(hardware)}"


def _with_best(choice: Choice, within: Sequence[CellView]) -> Choice:
    """Return the choice with the best cell within the budget and its runner-up; best first."""
    best = within[0]
    runner_up = next((cell for cell in within[1:] if not _share_checkpoint(cell, best)), None)
    if runner_up is None:
        return replace(choice, best=best)
    comparison = compare(best.evaluation, runner_up.evaluation, choice.metric)
    return replace(choice, best=best, runner_up=runner_up, comparison=comparison)


def _first_perplexity(cells: Sequence[CellView]) -> str:
    """Return the first perplexity that a cell was scored by, else ``accuracy``."""
    for cell in cells:
        for name in cell.evaluation.scores if cell.evaluation else ():
            if name.startswith(_PERPLEXITY):
                return name
    return "accuracy"


def _candidates(cells: Sequence[CellView], budget: Budget, metric: str) -> Iterator[_Candidate]:
    """Yield the cells that have the metric and every limited number."""
    limits = budget.limits
    needed = {metric, *limits}
    for cell in cells:
        metrics = cell.metrics()
        if needed <= metrics.keys():
            order = (_cost(metrics, metric), metrics.get("params", 0), cell.cell.name)
            yield _Candidate(cell, order, _excess(metrics, limits))


def outside(cells: Sequence[CellView], budget: Budget) -> frozenset[str]:
    """Return the keys of the cells that are known not to keep the limits."""
    return frozenset(
        cell.cell.key
        for cell in cells
        if budget.limits.keys() <= cell.metrics().keys()
        and _excess(cell.metrics(), budget.limits) > 1
    )


def _cost(metrics: Mapping[str, float], metric: str) -> float:
    """Return the metric with the sign that makes lower better."""
    return metrics[metric] if lower_is_better(metric) else -metrics[metric]


def _excess(metrics: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Return the largest share of a limit that is used; 0 where there is none."""
    return max((metrics[name] / limit for name, limit in limits.items()), default=0.0)


def _share_checkpoint(cell: CellView, other: CellView) -> bool:
    """Whether both cells stand for one checkpoint; it is not known of cells without one."""
    return cell.checkpoint_uri is not None and cell.checkpoint_uri == other.checkpoint_uri


def compare(
    best: EvaluationRecord | None, other: EvaluationRecord | None, metric: str
) -> Comparison | None:
    """Return how far apart two checkpoints are and how well that is known; None where it is not.

    Perplexities are compared window by window: texts differ far more among themselves than two
    checkpoints do. Where that cannot be, by the standard errors of the two scores.
    """
    if best is None or other is None:
        return None
    if metric.startswith(_PERPLEXITY):
        text = metric.removeprefix(_PERPLEXITY)
        windows, other_windows = best.window_nll.get(text, ()), other.window_nll.get(text, ())
        if len(windows) == len(other_windows) > 1:
            return _compare_windows(windows, other_windows)
    return _compare_scores(best.scores.get(metric), other.scores.get(metric))


def _compare_scores(best: Score | None, other: Score | None) -> Comparison | None:
    """Return the difference of two scores; None where one, or its standard error, is not known."""
    if best is None or best.stderr is None or other is None or other.stderr is None:
        return None
    return Comparison(other.value - best.value, hypot(best.stderr, other.stderr), paired=False)


def _compare_windows(best: Sequence[float], other: Sequence[float]) -> Comparison:
    """Return the mean difference over the same windows, at least two, in nats per token."""
    differences = [b - a for a, b in zip(best, other, strict=True)]
    stderr = stdev(differences) / sqrt(len(differences))
    return Comparison(fmean(differences), stderr, paired=True, windows=len(differences))


def pareto_front(cells: Sequence[CellView], x: str, metric: str) -> tuple[CellView, ...]:
    """Return the cells that no other beats in ``x`` and ``metric``, from the cheapest ``x`` up.

    To beat is to be as good in both and better in one; of equal cells the first by name counts.
    """
    costs: list[tuple[float, float, str, CellView]] = []
    for cell in cells:
        metrics = cell.metrics()
        if x in metrics and metric in metrics:
            costs.append((_cost(metrics, x), _cost(metrics, metric), cell.cell.name, cell))
    front: list[CellView] = []
    lowest = float("inf")
    for _, cost, _, cell in sorted(costs, key=lambda entry: entry[:3]):
        if cost < lowest:
            front.append(cell)
            lowest = cost
    return tuple(front)
