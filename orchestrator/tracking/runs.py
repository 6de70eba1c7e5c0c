"""Makes MLflow's runs equal to their ``RunState``, writing only what is new. Knows no views.

Idempotence rests on three things: a run is found by its tags; the tag ``trsp.written`` says how
many points of each curve and which artifacts it has; and a point's timestamp is a function of the
run's start and the point itself, so that writing one twice (a crash between writing and
remembering) is dropped by MLflow as a duplicate.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Param, Run, RunTag
from mlflow.exceptions import MlflowException

from orchestrator.scratch import scratch_folder
from orchestrator.tracking.content.describe import RunId
from orchestrator.tracking.content.states import Artifact, RunState
from orchestrator.tracking.entities import (
    MAX_PARAM,
    MAX_TAG,
    cut,
    final_metrics,
    in_batches,
    new_points,
    state_tags,
)
from orchestrator.tracking.models import ModelWriter
from orchestrator.tracking.search import OPEN, kill, of_grid, search_runs
from orchestrator.tracking.written_run import WRITTEN, WrittenRun
from orchestrator.views.grid_view import OVER, Status

MLFLOW_STATUS = {
    Status.WAITING: "SCHEDULED",
    Status.RUNNING: "RUNNING",
    Status.DONE: "FINISHED",
    Status.FAILED: "FAILED",
    Status.KILLED: "KILLED",
}


class RunWriter:
    """Writes the runs of one grid in one experiment.

    ``grid``: its key. ``facts``: tags of every run that is made. ``artifacts_every_s``: between two
    writings of an artifact of a run that is not over, for tables grow with every change and are
    written whole. Nothing is known of MLflow before ``read``.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        grid: str,
        facts: Mapping[str, str],
        artifacts_every_s: float,
    ) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._grid = grid
        self._facts = facts
        self._artifacts_every_s = artifacts_every_s
        self._models = ModelWriter(client, experiment_id)
        self._runs: dict[RunId, WrittenRun] = {}
        self.may_have_twins = False  # as another driver may have made what we did since we read

    def read(self) -> set[RunId]:
        """Take up what MLflow holds now; return the runs that are not as this process left them.

        Of several runs with one kind and key, which two drivers made at once, the oldest stays;
        only the next reading that finds none proves that the others are gone.
        """
        self._models.forget_registry()
        self.may_have_twins = False
        found: dict[RunId, Run] = {}
        for run in search_runs(self._client, self._experiment_id, of_grid(self._grid)):
            kind = run.data.tags["trsp.kind"]
            if found.setdefault((kind, run.data.tags[f"trsp.{kind}"]), run) is not run:
                self.may_have_twins = True
                with suppress(MlflowException):  # the other driver may have, this very moment
                    self._client.delete_run(run.info.run_id)
        changed = {id_ for id_ in self._runs if id_ not in found}
        for id_ in changed:
            del self._runs[id_]
        for id_, run in found.items():
            known = self._runs.get(id_)
            if known is None or not known.is_as_in(run):
                self._runs[id_] = WrittenRun.of(run)
                changed.add(id_)
        return changed

    def exists(self, id_: RunId) -> bool:
        """Return whether the grid has this run."""
        return id_ in self._runs

    def is_open(self, id_: RunId) -> bool:
        """Return whether the grid has this run, and it is not closed."""
        return id_ in self._runs and self._runs[id_].status in OPEN

    def tag(self, id_: RunId, name: str, value: str) -> None:
        """Set a tag of a run that exists."""
        self._client.set_tag(self._runs[id_].run_id, name, value)

    def write(self, state: RunState) -> float | None:
        """Bring the run of a state to that state; it is made if need be.

        Returns None where all of it was written, else when the rest may be, in seconds of the
        monotonic clock: artifacts of a run that is not over may have to wait. What the run holds
        after an error, only ``read`` finds out.
        """
        run = self._matching_run(state)
        try:
            model_id = None
            if state.model:
                model_id = self._models.write(run.run_id, state, is_new=run.ours).model_id
            due_at = self._write_artifacts(run, state)
            self._write_values(run, state, model_id)
            self._write_status(run, state)
            return due_at
        except BaseException:
            del self._runs[state.kind, state.key]
            raise

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
            **self._parent(),
            **self._facts,
        }
        run = self._client.create_run(
            self._experiment_id, _ms(state.began), tags=tags, run_name=state.name
        )
        self.may_have_twins = True
        made = dict(run.data.tags)
        return WrittenRun(run.info.run_id, run.info.start_time, "RUNNING", tags=made, ours=True)

    def _parent(self) -> dict[str, str]:
        """The tag that hangs a run below the grid's own; none while that is not there."""
        parent = self._runs.get(("grid", self._grid))
        return {"mlflow.parentRunId": parent.run_id} if parent else {}

    def _write_values(self, run: WrittenRun, state: RunState, model_id: str | None) -> None:
        """Write what is new of params, metrics and tags: one request where it fits into one."""
        params = cut(state.params, MAX_PARAM)
        params = {name: value for name, value in params.items() if name not in run.params}
        finals = {
            name: value for name, value in state.finals.items() if run.finals.get(name) != value
        }
        metrics = final_metrics(finals, run, state, model_id) + new_points(run, state)
        *before, metrics = in_batches(metrics)
        for chunk in before:  # first, for the tags say that they are there
            self._client.log_batch(run.run_id, metrics=chunk)
        run.params |= params
        run.finals |= finals
        run.metrics |= finals
        run.points |= {name: len(points) for name, points in state.curves.items()}
        tags = self._tags(run, state)
        changed = {
            name: value for name, value in tags.items() if value and run.tags.get(name) != value
        }
        if params or metrics or changed:
            self._client.log_batch(
                run.run_id,
                metrics=metrics,
                params=[Param(name, value) for name, value in params.items()],
                tags=[RunTag(name, value) for name, value in changed.items()],
            )
        run.tags |= changed
        for name in [name for name, value in tags.items() if not value and name in run.tags]:
            self._delete_tag(run, name)

    def _tags(self, run: WrittenRun, state: RunState) -> dict[str, str]:
        """All tags that the run is to have now; those that are empty are to go."""
        parent = {} if state.kind == "grid" else self._parent()
        return cut({**state_tags(state, run.run_id), **parent, WRITTEN: run.memory()}, MAX_TAG)

    def _delete_tag(self, run: WrittenRun, name: str) -> None:
        """Delete a tag; that another driver of the grid has done so is as good."""
        try:
            self._client.delete_tag(run.run_id, name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        del run.tags[name]

    def _write_artifacts(self, run: WrittenRun, state: RunState) -> float | None:
        """Write the artifacts that changed; return when those may be that have to wait, if any."""
        later: list[float] = []
        for artifact in state.artifacts:
            written_at = run.artifacts_at.get(artifact.path, float("-inf"))
            due_at = written_at + self._artifacts_every_s
            if state.status not in OVER and time.monotonic() < due_at:
                later.append(due_at)
                continue
            version = artifact.version()
            if run.artifacts.get(artifact.path) != version:
                self._write_artifact(run, artifact)
                run.artifacts[artifact.path] = version
                run.artifacts_at[artifact.path] = time.monotonic()
        return min(later, default=None)

    def _write_artifact(self, run: WrittenRun, artifact: Artifact) -> None:
        with scratch_folder("mlflow") as folder:
            local = folder / Path(artifact.path).name
            artifact.write(local)
            parent = Path(artifact.path).parent.as_posix()
            self._client.log_artifact(run.run_id, str(local), None if parent == "." else parent)

    def _write_status(self, run: WrittenRun, state: RunState) -> None:
        mlflow_status = MLFLOW_STATUS[state.status]
        if run.status == mlflow_status:
            return
        if state.status in OVER:
            ended_ms = _ms(state.ended)  # by the clock of another machine, perhaps
            end_time = ended_ms and max(ended_ms, run.started_ms)
            self._client.set_terminated(run.run_id, mlflow_status, end_time)
        else:
            self._client.update_run(run.run_id, status=mlflow_status)
        run.status = mlflow_status

    def drop_others(self, keep: set[RunId]) -> None:
        """Close the open runs of this grid that are not in ``keep``."""
        for id_, run in self._runs.items():
            if id_ not in keep and run.status in OPEN:
                kill(self._client, run.run_id, "no longer part of the grid")
                run.status = "KILLED"


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


def _contradicts(run: WrittenRun, state: RunState) -> bool:
    """Whether the run holds another value of any of the state's params."""
    params = cut(state.params, MAX_PARAM)
    return any(run.params.get(name, value) != value for name, value in params.items())
