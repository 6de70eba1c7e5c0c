"""The leaderboard: a view of MLflow's runs list that a link can open.

Pure; makes JSON and links, calls nothing. MLflow's page reads the view from the experiment tag
``mlflow.sharedViewState.KEY`` when its link carries ``viewStateShareKey=KEY``. The format is
MLflow's own and undocumented: it is pinned with MLflow's version in pyproject.toml, and
tests/browser opens the real page. The page accepts any KEY, so ours is made from the grid's key
alone: the link is the same from the first second of a job to its end, whatever columns come to be
known.
"""

import hashlib
import json
from collections.abc import Sequence

from orchestrator.views.grid_view import GridView
from trsp.records import lower_is_better

TAG_PREFIX = "mlflow.sharedViewState."
PREFERRED = ("accuracy", "kept", "params", "latency_ms")
RUN_NAME = "attributes.`Run Name`"
WIDTHS = {  # of columns in pixels
    RUN_NAME: 330,
    "params.`selector`": 130,
    "params.`layers`": 170,
    "attributes.`Models`": 260,
    "tags.`trsp.reason`": 260,
}


def share_key(grid_key: str) -> str:
    """Return the KEY under which a grid's view is shared."""
    return hashlib.sha256(f"trsp leaderboard {grid_key}".encode()).hexdigest()


def share_tag(grid_key: str) -> str:
    """Return the name of the experiment tag that holds a grid's view."""
    return TAG_PREFIX + share_key(grid_key)


def cells_filter(grid_key: str) -> str:
    """Return MLflow's search string for the cells of a grid."""
    return f"tags.`trsp.kind` = 'cell' AND tags.`trsp.grid` = '{grid_key}'"


def score_names(view: GridView) -> tuple[str, ...]:
    """Return all scores known so far: perplexities first, in the order of the evaluation."""
    names: dict[str, None] = {}  # a set that keeps its order
    for part in view.parts:
        if part.evaluation:
            names |= dict.fromkeys(part.evaluation.scores)
    return tuple(sorted(names, key=lambda name: not name.startswith("perplexity/")))


def shared_view(view: GridView) -> str:
    """Return the page's state as JSON: the cells of this grid, best first by the first score."""
    scores = score_names(view)
    first = scores[0] if scores else "kept"
    columns = _columns(view, scores)
    shown = [RUN_NAME, *columns]
    state = {
        "searchFilter": cells_filter(view.key),
        "orderByKey": _column("metrics", first),
        "orderByAsc": lower_is_better(first) or first == "kept",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": shown,
        "columnWidths": {column: WIDTHS.get(column, _width(column)) for column in shown},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": True,
    }
    return json.dumps(state)


def leaderboard_url(ui_base: str, experiment_id: str, grid_key: str) -> str:
    """Return the link that opens the leaderboard in the MLflow UI at ``ui_base``."""
    page = f"{ui_base.rstrip('/')}/#/experiments/{experiment_id}/runs"
    return f"{page}?workflowType=machine_learning&viewStateShareKey={share_key(grid_key)}"


def _column(group: str, name: str) -> str:
    return f"{group}.`{name}`"


def _width(column: str) -> int:
    """The width in pixels that a column's header needs."""
    return max(75, 7 * len(column.partition("`")[2]) + 25)


def _columns(view: GridView, scores: Sequence[str]) -> list[str]:
    """The columns beside the run's name: scores, sizes, settings, checkpoint, reason.

    Single benchmarks are left out where their mean, the accuracy, is there.
    """
    perplexities = [name for name in scores if name.startswith("perplexity/")]
    metrics = [*perplexities, *(f"dense/{name}" for name in perplexities[:1]), *PREFERRED]
    if "accuracy" not in scores:
        metrics += [name for name in scores if name not in perplexities]
    params = ["ratio", "selector", "gate_l1", "transfer", "drift", "layers"]
    if len({cell.cell.model.name for cell in view.cells}) > 1:
        params.insert(0, "model")
    columns = [_column("metrics", name) for name in metrics]
    columns += [_column("params", name) for name in params]
    return [*columns, _column("attributes", "Models"), _column("tags", "trsp.reason")]
