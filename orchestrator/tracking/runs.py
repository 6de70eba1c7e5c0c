"""Makes MLflow's runs equal to their ``RunState``, writing only what is new. Knows no views.

Idempotence rests on three things: a run is found by its tags; the tag ``trsp.written`` says how
many points of each curve and which artifacts it has; and a point's timestamp is a function of the
run's start and the point itself, so that writing one twice (a crash between writing and
remembering) is dropped by MLflow as a duplicate.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from orchestrator.scratch import scratch_folder
from orchestrator.tracking.content.states import Artifact, RunState
from orchestrator.tracking.models import ModelWriter
from orchestrator.tracking.written_run import WRITTEN, WrittenRun
from orchestrator.views.grid_view import OVER, Status

Item = TypeVar("Item")
BATCH = 500  # metrics per request; MLflow takes 1000
SMALL_BATCH = 100  # params or tags per request: what MLflow takes
MAX_PARAM, MAX_TAG = 6000, 8000  # characters
PAGE = 500  # runs per answer of a search
MLFLOW_STATUS = {
    Status.WAITING: "SCHEDULED",
    Status.RUNNING: "RUNNING",
    Status.DONE: "FINISHED",
    Status.FAILED: "FAILED",
    Status.KILLED: "KILLED",
}
OPEN = ("RUNNING", "SCHEDULED")


class RunWriter:
    """Writes the runs of one grid in one experiment.

    ``grid``: its key. ``facts``: tags of every run that is made.
    """

    def __init__(
        self, client: MlflowClient, experiment_id: str, grid: str, facts: Mapping[str, str]
    ) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._grid = grid
        self._facts = facts
        self._models = ModelWriter(client, experiment_id)
        self._runs: dict[tuple[str, str], WrittenRun] = {}
        for run in search_runs(client, experiment_id, f"tags.`trsp.grid` = '{grid}'"):
            tags = run.data.tags
            self._runs[tags["trsp.kind"], tags[f"trsp.{tags['trsp.kind']}"]] = WrittenRun.of(run)

    def exists(self, kind: str, key: str) -> bool:
        """Return whether the grid has a run of this kind and key."""
        return (kind, key) in self._runs

    def tag(self, kind: str, key: str, name: str, value: str) -> None:
        """Set a tag of a run that exists."""
        self._client.set_tag(self._runs[kind, key].run_id, name, value)

    def write(self, state: RunState) -> None:
        """Bring the run of a state to that state; it is made if need be."""
        run = self._matching_run(state)
        model = self._models.write(run.run_id, state) if state.model else None
        self._write_values(run, state, model.model_id if model else None)
        self._write_artifacts(run, state.artifacts)
        self._write_tags(run, state)
        self._write_status(run, state.status)

    def _matching_run(self, state: RunState) -> WrittenRun:
        """The run of this state, made if need be.

        One whose params say otherwise belongs to another past, and is replaced.
        """
        run = self._runs.get((state.kind, state.key))
        if run and _contradicts(run, state):
            self._client.delete_run(run.run_id)
            run = None
        if run is None:
            run = self._create(state)
            self._runs[state.kind, state.key] = run
        return run

    def _create(self, state: RunState) -> WrittenRun:
        tags = {
            "trsp.kind": state.kind,
            "trsp.grid": self._grid,
            f"trsp.{state.kind}": state.key,
            **self._facts,
        }
        if parent := self._runs.get(("grid", self._grid)):
            tags["mlflow.parentRunId"] = parent.run_id
        run = self._client.create_run(self._experiment_id, tags=tags, run_name=state.name)
        return WrittenRun(run.info.run_id, run.info.start_time, "RUNNING", tags=dict(run.data.tags))

    def _write_values(self, run: WrittenRun, state: RunState, model_id: str | None) -> None:
        params = _cut(state.params, MAX_PARAM)
        params = {name: value for name, value in params.items() if name not in run.params}
        for chunk in _chunks([Param(name, value) for name, value in params.items()], SMALL_BATCH):
            self._client.log_batch(run.run_id, params=chunk)
        finals = {
            name: value for name, value in state.finals.items() if run.finals.get(name) != value
        }
        metrics = _final_metrics(finals, state, model_id) + _new_points(run, state)
        for chunk in _chunks(metrics, BATCH):
            self._client.log_batch(run.run_id, metrics=chunk)
        run.params |= params
        run.finals |= finals
        run.points |= {name: len(points) for name, points in state.curves.items()}

    def _write_artifacts(self, run: WrittenRun, artifacts: Sequence[Artifact]) -> None:
        for artifact in artifacts:
            if run.artifacts.get(artifact.path) == artifact.version:
                continue
            with scratch_folder("mlflow") as folder:
                local = folder / Path(artifact.path).name
                artifact.write(local)
                parent = Path(artifact.path).parent.as_posix()
                self._client.log_artifact(run.run_id, str(local), None if parent == "." else parent)
            run.artifacts[artifact.path] = artifact.version

    def _write_tags(self, run: WrittenRun, state: RunState) -> None:
        """Set the tags that changed, and delete those that are empty now."""
        tags = _cut({**_run_tags(state), WRITTEN: run.memory()}, MAX_TAG)
        changed = {
            name: value for name, value in tags.items() if value and run.tags.get(name) != value
        }
        for chunk in _chunks([RunTag(name, value) for name, value in changed.items()], SMALL_BATCH):
            self._client.log_batch(run.run_id, tags=chunk)
        run.tags |= changed
        for name in [name for name, value in tags.items() if not value and name in run.tags]:
            self._client.delete_tag(run.run_id, name)
            del run.tags[name]

    def _write_status(self, run: WrittenRun, status: Status) -> None:
        mlflow_status = MLFLOW_STATUS[status]
        if run.status == mlflow_status:
            return
        if status in OVER:
            self._client.set_terminated(run.run_id, status=mlflow_status)
        else:
            self._client.update_run(run.run_id, status=mlflow_status)
        run.status = mlflow_status

    def drop_others(self, keep: set[tuple[str, str]]) -> None:
        """Close the open runs of this grid whose kind and key are not in ``keep``."""
        for (kind, key), run in self._runs.items():
            if (kind, key) not in keep and run.status in OPEN:
                kill(self._client, run.run_id, "no longer part of the grid")
                run.status = "KILLED"


def search_runs(client: MlflowClient, experiment_id: str, query: str) -> Iterator[Run]:
    """Yield every run that a query finds, oldest first."""
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id], query, max_results=PAGE, order_by=["start_time ASC"], page_token=token
        )
        yield from page
        token = page.token
        if not token:
            return


def kill(client: MlflowClient, run_id: str, reason: str) -> None:
    """Close a run as KILLED for that reason."""
    client.set_tag(run_id, "trsp.reason", reason)
    client.set_terminated(run_id, status="KILLED")


def _contradicts(run: WrittenRun, state: RunState) -> bool:
    """Whether the run holds another value of any of the state's params."""
    params = _cut(state.params, MAX_PARAM)
    return any(run.params.get(name, value) != value for name, value in params.items())


def _run_tags(state: RunState) -> dict[str, str]:
    """The state's own tags and those by which MLflow's pages show it."""
    paths = [artifact.path for artifact in state.artifacts if artifact.is_table]
    tables = [{"path": path, "type": "table"} for path in paths]
    return {
        **state.tags,
        "mlflow.runName": state.name,
        "mlflow.note.content": state.note,
        "mlflow.loggedArtifacts": json.dumps(tables) if tables else "",
        "trsp.reason": state.reason,
    }


def _final_metrics(
    finals: Mapping[str, float], state: RunState, model_id: str | None
) -> list[Metric]:
    """The finals at step 0, which MLflow draws as bars."""
    now_ms = int(time.time() * 1000)
    return [
        Metric(name, value, now_ms, 0, **_links(name, state, model_id))
        for name, value in finals.items()
    ]


def _links(name: str, state: RunState, model_id: str | None) -> dict[str, Any]:
    """What a score is linked with: its checkpoint, and for a perplexity the text too."""
    if state.model is None or name not in state.model.scores:
        return {}
    links: dict[str, Any] = {"model_id": model_id}
    if name.startswith("perplexity/"):
        text = name.partition("/")[2]
        links |= {"dataset_name": text, "dataset_digest": state.model.texts.get(text, text)}
    return links


def _new_points(run: WrittenRun, state: RunState) -> list[Metric]:
    """The points of every curve that the run does not hold yet."""
    return [
        Metric(name, point.value, run.started_ms + int(point.at_s * 1000), point.step)
        for name, points in state.curves.items()
        for point in points[run.points.get(name, 0) :]
    ]


def _cut(values: Mapping[str, str], limit: int) -> dict[str, str]:
    """The values, those longer than ``limit`` characters cut to it."""
    return {
        name: value if len(value) <= limit else value[: limit - 4] + " ..."
        for name, value in values.items()
    }


def _chunks(items: list[Item], size: int) -> Iterator[list[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
