"""``trsp best --json``: the best checkpoint under a budget, for programs.

Decides nothing; knows choices and views alone.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.report.choice_tables import choice_axis, load_snippet
from orchestrator.views.budget import Choice, pareto_front
from orchestrator.views.grid_view import CellView


def choice_dict(
    choice: Choice, cells: Sequence[CellView], alias: str | None = None
) -> dict[str, Any]:
    """Return the answer for one budget as plain values, as JSON takes them.

    ``alias``: what marks the best in the registry once the grid is done; None: nothing does.
    """
    comparison = choice.comparison and {**asdict(choice.comparison), "tie": choice.comparison.tie}
    front = pareto_front(cells, choice_axis(choice), choice.metric)
    return {
        "budget": choice.budget.alias,
        "alias": alias,
        "limits": choice.budget.limits,
        "metric": choice.metric,
        "best": _cell_dict(choice.best),
        "runner_up": _cell_dict(choice.runner_up),
        "comparison": comparison,
        "warnings": choice.warnings,
        "nearest": _cell_dict(choice.nearest),
        "overshoot": choice.overshoot,
        "would_meet": [asdict(reach) for reach in choice.reaches],
        "pareto_front": [_cell_dict(cell) for cell in front],
        "load": "\n".join(load_snippet(choice.best)),
    }


def _cell_dict(view: CellView | None) -> dict[str, Any] | None:
    if view is None:
        return None
    return {
        "key": view.cell.key,
        "name": view.cell.name,
        "removed_layers": sorted(view.layers) if view.layers is not None else None,
        "checkpoint": view.checkpoint_uri,
        "rate_scales": dict(view.rate_scales),
        "metrics": view.metrics(),
        "latency_doubt": view.measurement.doubt if view.measurement else None,
    }
