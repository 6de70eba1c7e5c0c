"""The charts that the leaderboard's link opens with: quality against what it costs.

Pure. The format is that of MLflow's page of charts, undocumented as the leaderboard's: see there.
Below ours, the page makes a chart of every metric by itself.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.tracking.content.metrics import shown_name

MOST_SCORES = 3  # that have charts of their own
RUNS = 100  # in a chart


def saved_charts(settings: Sequence[str], scores: Sequence[str]) -> dict[str, Any]:
    """Return what the page's state says of its charts.

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
        "runsCountToCompare": RUNS,
        "metricSectionId": section,
        "deleted": False,
        "isGenerated": False,
    }
