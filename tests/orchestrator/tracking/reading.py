"""What MLflow says of the sample's grid, read back."""

import json
import re
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.views.grid_view import GridView

EXPERIMENT = "TRSP tests"
REGISTERED = "Tiny-1-5M"  # the sample's model as MLflow takes its name
Named = dict[tuple[str, str], Run]  # runs by kind and name


def client_of(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def all_runs(uri: str) -> Named:
    """Every run; fails on two of one kind and name, which is how a duplicate would show."""
    client = client_of(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id], max_results=1000))
    named = {(run.data.tags["trsp.kind"], run.info.run_name): run for run in runs}
    assert len(named) == len(runs), "two runs of one kind and name"
    return named


def statuses(uri: str) -> set[str]:
    return {run.info.status for run in all_runs(uri).values()}


_EXPERIMENT = re.compile(r"experiments/\d+")


def contents(uri: str) -> dict[Any, Any]:
    """All that MLflow says of the grid, without ids and times: equal for equal projections."""
    client = client_of(uri)
    said: dict[Any, Any] = {name: run_contents(client, run) for name, run in all_runs(uri).items()}
    for version in client.search_model_versions(f"name = '{REGISTERED}'"):
        aside = ("trsp.logged_model", "trsp.alias.")
        own = {key: value for key, value in version.tags.items() if not key.startswith(aside)}
        said["version", version.tags["trsp.cell"]] = (own, version.source, version.description)
    return said


def run_contents(client: MlflowClient, run: Run) -> tuple[Any, ...]:
    """Status, params, tags, the points of every metric, paths of artifacts, number of models.

    Of the grid's own run the last points: its metrics say how far it is.
    """
    points = {
        name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }
    if run.data.tags["trsp.kind"] == "grid":
        points = {name: [(0, value)] for name, value in run.data.metrics.items()}
    tags = {
        name: _EXPERIMENT.sub("experiments/ID", value.replace(run.info.run_id, "RUN"))
        for name, value in run.data.tags.items()
        if name not in ("mlflow.parentRunId", "trsp.alive")
    }
    files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
    models = len(run.outputs.model_outputs) if run.outputs else 0
    return run.info.status, dict(run.data.params), tags, points, files, models


def cell_run(runs: Named, view: GridView, index: int) -> Run:
    return runs["cell", view.cells[index].cell.name]


def download(uri: str, run: Run, path: str, folder: Path) -> Path:
    return Path(client_of(uri).download_artifacts(run.info.run_id, path, str(folder)))


def table(uri: str, run: Run, path: str, folder: Path) -> Any:
    return json.loads(download(uri, run, path, folder).read_text())
