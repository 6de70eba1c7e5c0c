"""The numbers of a cell or model as MLflow's metrics: their names, units and order. Pure.

MLflow's lists cut long numbers, so large ones are in millions or GB, and their names say so. What
is written first, its page of compared runs draws first: scores come before all else.
"""

from collections.abc import Mapping

from orchestrator.tracking.content.values import all_rounded
from orchestrator.views.grid_view import CellView, DenseView
from trsp.records import Score

KEPT = "kept"  # the share of the unpruned model's parameters
STDERR = "stderr/"  # begins the name of a score's standard error
_UNITS = {  # by our own name: MLflow's, and how much of ours is one of that
    "params": ("params_M", 1e6),
    "bytes": ("size_GB", 1e9),
    "kv_bytes_per_token": ("kv_KB_per_token", 1e3),
    "peak_memory_bytes": ("peak_memory_GB", 1e9),
}


def shown_name(metric: str) -> str:
    """Return the name that a metric of a view has in MLflow: ``params_M`` for ``params``."""
    return _UNITS.get(metric, (metric, 1))[0]


def shown_value(metric: str, value: float) -> float:
    """Return a metric's value in the unit that its name in MLflow says."""
    unit = _UNITS.get(metric, (metric, 1))[1]
    return value / unit if unit != 1 else value


def shown_metrics(part: CellView | DenseView) -> dict[str, float]:
    """Return all numbers of a part under MLflow's names, rounded.

    First its scores, perplexities before all others and each with its standard error beside it;
    then sizes and speeds.
    """
    scores = ordered_scores(part.evaluation.scores) if part.evaluation else {}
    shown = _with_errors(scores)
    for name, value in part.metrics().items():
        if name not in scores:
            shown[shown_name(name)] = shown_value(name, value)
    return all_rounded(shown)


def ordered_scores(scores: Mapping[str, Score]) -> dict[str, Score]:
    """Return scores with the perplexities first, then the mean accuracy, then single tasks'."""
    return dict(sorted(scores.items(), key=lambda item: _rank(item[0])))


def _rank(name: str) -> int:
    if name.startswith("perplexity/"):
        return 0
    return 1 if name == "accuracy" else 2


def _with_errors(scores: Mapping[str, Score]) -> dict[str, float]:
    shown: dict[str, float] = {}
    for name, score in scores.items():
        shown[name] = score.value
        if score.stderr is not None:
            shown[STDERR + name] = score.stderr
    return shown
