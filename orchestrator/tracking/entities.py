"""What a run says, as MLflow takes it: metrics, tags, and their limits."""

import json
import time
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric

from orchestrator.tracking.content.metrics import STDERR
from orchestrator.tracking.content.states import RUN_ID, RunState
from orchestrator.tracking.written_run import WrittenRun

# Metrics per request: MLflow takes 1000 items in all, among them up to 100 params and 100 tags.
BATCH = 800
MAX_PARAM, MAX_TAG = 6000, 8000  # characters


def state_tags(state: RunState, run_id: str) -> dict[str, str]:
    """Return the state's own tags and those by which MLflow's pages show it."""
    paths = [artifact.path for artifact in state.artifacts if artifact.is_table]
    tables = [{"path": path, "type": "table"} for path in paths]
    return {
        **state.tags,
        "mlflow.runName": state.name,
        "mlflow.note.content": state.note.replace(RUN_ID, run_id),
        "mlflow.loggedArtifacts": json.dumps(tables) if tables else "",
        "trsp.reason": state.reason,
    }


def final_metrics(
    finals: Mapping[str, float], run: WrittenRun, state: RunState, model_id: str | None
) -> list[Metric]:
    """Return the finals at step 0, which MLflow draws as bars.

    One that the run has no other value of is at the run's start: written twice, MLflow drops it as
    a duplicate. One that replaces another value is at the present time, for the latest counts.
    """
    now_ms = int(time.time() * 1000)
    times_ms = {
        name: run.started_ms if run.metrics.get(name, value) == value else now_ms
        for name, value in finals.items()
    }
    return [
        Metric(name, value, times_ms[name], 0, **_links(name, state, model_id))
        for name, value in finals.items()
    ]


def _links(name: str, state: RunState, model_id: str | None) -> dict[str, Any]:
    """What a score is linked with: its checkpoint, and for a perplexity the text too."""
    if state.model is None or name not in state.model.scores:
        return {}
    links: dict[str, Any] = {"model_id": model_id}
    score = name.removeprefix(STDERR)
    if score.startswith("perplexity/"):
        text = score.partition("/")[2]
        links |= {"dataset_name": text, "dataset_digest": state.model.texts.get(text, text)}
    return links


def new_points(run: WrittenRun, state: RunState) -> list[Metric]:
    """Return the points of every curve that the run does not hold yet."""
    return [
        Metric(name, point.value, run.started_ms + int(point.at_s * 1000), point.step)
        for name, points in state.curves.items()
        for point in points[run.points.get(name, 0) :]
    ]


def cut(values: Mapping[str, str], limit: int) -> dict[str, str]:
    """Return the values, those longer than ``limit`` characters cut to it."""
    return {
        name: value if len(value) <= limit else value[: limit - 4] + " ..."
        for name, value in values.items()
    }


def in_batches(metrics: list[Metric]) -> list[list[Metric]]:
    """Return the metrics in as many requests as they need, at least one."""
    return [metrics[start : start + BATCH] for start in range(0, len(metrics), BATCH)] or [[]]
