"""Makes MLflow's runs equal to their ``RunState``, writing only what is new. Imports mlflow; knows no views but Status.

Idempotence rests on three things: a run is found by its tags; the tag ``trsp.written`` says how many points of each
curve and which artifacts it has; and a point's timestamp is a function of the run's start and the point itself, so that
writing one twice (a crash between writing and remembering) is dropped by MLflow as a duplicate.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from orchestrator.tracking.content.states import Artifact, RunState
from orchestrator.tracking.models import ModelWriter
from orchestrator.views.grid_view import OVER, Status

Item = TypeVar("Item")
BATCH = 500  # metrics a request; MLflow takes 1000, with 100 params and 100 tags
MAX_PARAM, MAX_TAG = 6000, 8000  # characters
WRITTEN = "trsp.written"
PAGE = 500
MLFLOW_STATUS = {
    Status.WAITING: "SCHEDULED",
    Status.RUNNING: "RUNNING",
    Status.DONE: "FINISHED",
    Status.FAILED: "FAILED",
    Status.KILLED: "KILLED",
}
OPEN = ("RUNNING", "SCHEDULED")


@dataclass
class Written:
    """What a run holds already, as far as this process knows."""

    run_id: str
    started_ms: int
    status: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    finals: dict[str, float] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Run) -> "Written":
        """Of a run that another process wrote. Finals are trusted only if it lived to say that they are all there."""
        said = json.loads(run.data.tags.get(WRITTEN) or "{}")
        found = cls(
            run.info.run_id,
            run.info.start_time,
            run.info.status,
            dict(run.data.params),
            dict(run.data.tags),
        )
        found.points, found.artifacts = said.get("points", {}), said.get("artifacts", {})
        finals = {
            name: value for name, value in run.data.metrics.items() if name not in found.points
        }
        found.finals = finals if said.get("finals") == _names_digest(finals) else {}
        return found

    def said(self) -> str:
        return json.dumps(
            {
                "points": self.points,
                "artifacts": self.artifacts,
                "finals": _names_digest(self.finals),
            }
        )


class RunWriter:
    """The runs of one grid in one experiment."""

    def __init__(
        self, client: MlflowClient, experiment_id: str, grid: str, facts: Mapping[str, str]
    ) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._grid = grid
        self._facts = facts
        self._models = ModelWriter(client, experiment_id)
        self._runs: dict[tuple[str, str], Written] = {}
        for run in search_runs(client, experiment_id, f"tags.`trsp.grid` = '{grid}'"):
            tags = run.data.tags
            self._runs[tags["trsp.kind"], tags[f"trsp.{tags['trsp.kind']}"]] = Written.of(run)

    def exists(self, kind: str, key: str) -> bool:
        return (kind, key) in self._runs

    def tag(self, kind: str, key: str, name: str, value: str) -> None:
        self._client.set_tag(self._runs[kind, key].run_id, name, value)

    def write(self, state: RunState) -> None:
        """One run, made if need be, brought to ``state``."""
        run = self._matching_run(state)
        model = self._models.write(run.run_id, state) if state.model else None
        self._write_values(run, state, model.model_id if model else None)
        self._write_artifacts(run, state.artifacts)
        self._write_tags(run, state)
        self._write_status(run, state.status)

    def _matching_run(self, state: RunState) -> Written:
        """The run of this state; one whose params say otherwise belongs to another past, and is replaced."""
        run = self._runs.get((state.kind, state.key))
        if run and any(
            run.params.get(name, value) != value
            for name, value in _cut(state.params, MAX_PARAM).items()
        ):
            self._client.delete_run(run.run_id)
            run = None
        if run is None:
            run = self._create(state)
            self._runs[state.kind, state.key] = run
        return run

    def _create(self, state: RunState) -> Written:
        tags = {
            "trsp.kind": state.kind,
            "trsp.grid": self._grid,
            f"trsp.{state.kind}": state.key,
            **self._facts,
        }
        if parent := self._runs.get(("grid", self._grid)):
            tags["mlflow.parentRunId"] = parent.run_id
        run = self._client.create_run(self._experiment_id, tags=tags, run_name=state.name)
        return Written(run.info.run_id, run.info.start_time, "RUNNING", tags=dict(run.data.tags))

    def _write_values(self, run: Written, state: RunState, model_id: str | None) -> None:
        params = {
            name: value
            for name, value in _cut(state.params, MAX_PARAM).items()
            if name not in run.params
        }
        fresh = {
            name: value for name, value in state.finals.items() if run.finals.get(name) != value
        }
        for chunk in _chunks([Param(name, value) for name, value in params.items()], 100):
            self._client.log_batch(run.run_id, params=chunk)
        for metrics in _chunks(_finals(fresh, state, model_id) + _points(run, state), BATCH):
            self._client.log_batch(run.run_id, metrics=metrics)
        run.params |= params
        run.finals |= fresh
        run.points |= {name: len(points) for name, points in state.curves.items()}

    def _write_artifacts(self, run: Written, artifacts: Sequence[Artifact]) -> None:
        for artifact in artifacts:
            if run.artifacts.get(artifact.path) == artifact.version:
                continue
            with tempfile.TemporaryDirectory(prefix="trsp-mlflow-") as folder:
                local = Path(folder) / Path(artifact.path).name
                artifact.write(local)
                parent = Path(artifact.path).parent.as_posix()
                self._client.log_artifact(run.run_id, str(local), None if parent == "." else parent)
            run.artifacts[artifact.path] = artifact.version

    def _write_tags(self, run: Written, state: RunState) -> None:
        tables = [
            {"path": artifact.path, "type": "table"}
            for artifact in state.artifacts
            if artifact.is_table
        ]
        wanted = {
            **state.tags,
            "mlflow.runName": state.name,
            "mlflow.note.content": state.note,
            "mlflow.loggedArtifacts": json.dumps(tables) if tables else "",
            "trsp.reason": state.reason,
            WRITTEN: run.said(),
        }
        wanted = _cut(wanted, MAX_TAG)
        fresh = {
            name: value for name, value in wanted.items() if value and run.tags.get(name) != value
        }
        for chunk in _chunks([RunTag(name, value) for name, value in fresh.items()], 100):
            self._client.log_batch(run.run_id, tags=chunk)
        run.tags |= fresh
        for name in [name for name, value in wanted.items() if not value and name in run.tags]:
            self._client.delete_tag(run.run_id, name)
            del run.tags[name]

    def _write_status(self, run: Written, status: Status) -> None:
        wanted = MLFLOW_STATUS[status]
        if run.status == wanted:
            return
        if status in OVER:
            self._client.set_terminated(run.run_id, status=wanted)
        else:
            self._client.update_run(run.run_id, status=wanted)
        run.status = wanted

    def drop_others(self, keep: set[tuple[str, str]]) -> None:
        """Closes runs of this grid that nothing asks for any more."""
        for (kind, key), run in self._runs.items():
            if (kind, key) not in keep and run.status in OPEN:
                kill(self._client, run.run_id, "no longer part of the grid")
                run.status = "KILLED"


def search_runs(client: MlflowClient, experiment_id: str, query: str) -> Iterator[Run]:
    """All pages, oldest first."""
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
    client.set_tag(run_id, "trsp.reason", reason)
    client.set_terminated(run_id, status="KILLED")


def _finals(values: Mapping[str, float], state: RunState, model_id: str | None) -> list[Metric]:
    """At step 0, which MLflow draws as bars; linked with the checkpoint, and with the text of a perplexity."""
    now = int(time.time() * 1000)
    metrics = []
    for name, value in values.items():
        linked: dict[str, Any] = (
            {"model_id": model_id} if state.model and name in state.model.scores else {}
        )
        if state.model and linked and name.startswith("perplexity/"):
            text = name.partition("/")[2]
            linked |= {"dataset_name": text, "dataset_digest": state.model.texts.get(text, text)}
        metrics.append(Metric(name, value, now, 0, **linked))
    return metrics


def _points(run: Written, state: RunState) -> list[Metric]:
    return [
        Metric(name, point.value, run.started_ms + int(point.at_s * 1000), point.step)
        for name, points in state.curves.items()
        for point in points[run.points.get(name, 0) :]
    ]


def _names_digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]


def _cut(values: Mapping[str, str], limit: int) -> dict[str, str]:
    return {
        name: value if len(value) <= limit else value[: limit - 4] + " ..."
        for name, value in values.items()
    }


def _chunks(items: list[Item], size: int) -> Iterator[list[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
