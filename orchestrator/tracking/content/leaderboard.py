"""The leaderboard: a view of MLflow's runs, as a list and as charts, that a link can open.

Pure; makes JSON and links, calls nothing. MLflow's page reads the view from the experiment tag
``mlflow.sharedViewState.KEY`` when its link carries ``viewStateShareKey=KEY``. The format is
MLflow's own and undocumented: it is pinned with MLflow's version in pyproject.toml, and
tests/browser opens the real page. The page accepts any KEY, so ours is made from the grid's key
alone: the link is the same from the first second of a job to its end, whatever columns come to be
known.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from orchestrator.tracking.content.describe_cell import SETTINGS
from orchestrator.tracking.content.metrics import KEPT, STDERR, ordered_scores, shown_name
from orchestrator.views.grid_view import GridView
from trsp.records import Score, lower_is_better

TAG_PREFIX = "mlflow.sharedViewState."
SIZES = (*map(shown_name, ("params", "bytes", "latency_ms")), KEPT)
RUN_NAME = "attributes.`Run Name`"
WIDTHS = {  # of columns in pixels
    "params.`selector`": 125,
    "params.`layers`": 170,
    "attributes.`Models`": 260,
    "tags.`trsp.reason`": 260,
}
SORTED_PX, ERROR_PX = 24, 100  # the mark of the sorted column; a standard error, its header cut
BESIDE_NAME_PX, CHARACTER_PX = 50, 6.6  # the colour and margins of a name's column; a letter's mean
NARROWEST_NAME_PX, WIDEST_NAME_PX = 160, 430
MOST_SCORES = 3  # that have charts of their own
RUNS_IN_CHART = 100


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
    scores: dict[str, Score] = {}
    for part in view.parts:
        if part.evaluation:
            scores |= part.evaluation.scores
    return tuple(ordered_scores(scores))


def shared_view(view: GridView) -> str:
    """Return the page's state as JSON: the cells of this grid, best first by the first score."""
    scores = score_names(view)
    first = scores[0] if scores else KEPT
    settings = _settings(view)
    columns = _columns(view, settings, scores)
    shown = [RUN_NAME, *columns]
    widths = {column: WIDTHS.get(column, _width(column)) for column in columns}
    widths[_column("metrics", first)] += SORTED_PX
    if scores:
        widths[_column("metrics", STDERR + first)] = ERROR_PX
    state = {
        "searchFilter": cells_filter(view.key),
        "orderByKey": _column("metrics", first),
        "orderByAsc": lower_is_better(first) or first == KEPT,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": shown,
        "columnWidths": {RUN_NAME: name_width(cell.cell.name for cell in view.cells), **widths},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": True,
        **_saved_charts(settings, _headline(scores)),
    }
    return json.dumps(state)


def leaderboard_url(ui_base: str, experiment_id: str, grid_key: str) -> str:
    """Return the link that opens the leaderboard in the MLflow UI at ``ui_base``."""
    return f"{ui_base.rstrip('/')}/{leaderboard_fragment(experiment_id, grid_key)}"


def leaderboard_fragment(experiment_id: str, grid_key: str, mode: str = "") -> str:
    """Return the end of that link, by which MLflow's own pages open it too.

    ``mode``: CHART opens the charts.
    """
    page = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    compare = f"&compareRunsMode={mode}" if mode else ""
    return f"{page}{compare}&viewStateShareKey={share_key(grid_key)}"


def name_width(names: Iterable[str]) -> int:
    """Return the width in pixels of the column of names: the longest fits, unless it is absurd."""
    longest = max(map(len, names), default=0)
    wanted = BESIDE_NAME_PX + CHARACTER_PX * longest
    return round(min(max(NARROWEST_NAME_PX, wanted), WIDEST_NAME_PX))


def _column(group: str, name: str) -> str:
    return f"{group}.`{name}`"


def _width(column: str) -> int:
    """The width in pixels that a column's header needs."""
    return max(62, 7 * len(column.partition("`")[2]) + 18)


def _settings(view: GridView) -> list[str]:
    """The settings that tell the cells apart, by the names of their params."""
    cells = [cell.cell for cell in view.cells]
    values = {name: set(map(value_of, cells)) - {None} for name, value_of in SETTINGS.items()}
    return [name for name, known in values.items() if len(known) > 1]


def _headline(scores: Sequence[str]) -> list[str]:
    """The scores worth a column: perplexities and the mean accuracy; single tasks without it."""
    if "accuracy" not in scores:
        return list(scores)
    return [name for name in scores if name.startswith("perplexity/") or name == "accuracy"]


def _columns(view: GridView, settings: Sequence[str], scores: Sequence[str]) -> list[str]:
    """The columns beside the run's name: settings, scores, sizes, layers, checkpoint, reason."""
    metrics = [*_headline(scores), *SIZES]
    if scores:
        metrics[1:1] = [STDERR + scores[0]]
        metrics.append(f"dense/{scores[0]}")
    columns = [_column("params", name) for name in settings]
    columns += [_column("metrics", name) for name in metrics]
    columns += [_column("params", "layers"), _column("attributes", "Models")]
    return [*columns, _column("tags", "trsp.reason")]


def _saved_charts(settings: Sequence[str], scores: Sequence[str]) -> dict[str, Any]:
    """Return what the page's state says of its charts: quality against what it costs.

    Below these the page makes a chart of every metric by itself.

    ``settings``: params that tell the cells apart. ``scores``: those that matter, best first.
    """
    sections: list[dict[str, Any]] = []
    charts: list[dict[str, Any]] = []
    for score in scores[:MOST_SCORES]:
        section = _section(f"{score} against size, speed and ratio")
        sections.append(section)
        charts += _scatters(score, section["uuid"])
    if scores and settings:
        sections.append(_section("Settings and scores"))
        charts.append(_parallel(settings, scores[:MOST_SCORES], sections[-1]["uuid"]))
    return {
        "compareRunCharts": charts,
        "compareRunSections": sections,
        "isAccordionReordered": True,  # ours stay first; else the page sorts all by their names
    }


def _section(name: str) -> dict[str, Any]:
    kept = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": f"trsp {name}", "name": name, **kept}


def _scatters(score: str, section: str) -> Iterator[dict[str, Any]]:
    """Yield charts of a score against the numbers of a checkpoint that a budget limits."""
    axes = [("METRIC", shown_name("params")), ("METRIC", "latency_ms"), ("PARAM", "ratio")]
    for kind, x in axes:
        yield {
            **_card("SCATTER", f"{score} {x}", section),
            "xaxis": {"key": x, "type": kind},
            "yaxis": {"key": score, "type": "METRIC"},
        }


def _parallel(settings: Sequence[str], scores: Sequence[str], section: str) -> dict[str, Any]:
    """Return a chart with a line per cell, through its settings to its scores."""
    return {
        **_card("PARALLEL", "settings", section),
        "selectedParams": list(settings),
        "selectedMetrics": list(scores),
        "showAllRuns": True,
    }


def _card(kind: str, name: str, section: str) -> dict[str, Any]:
    return {
        "uuid": f"trsp {name}",
        "type": kind,
        "runsCountToCompare": RUNS_IN_CHART,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
    }
