"""Pruned checkpoints in MLflow: a LoggedModel and a registered version each. Writes no weights.

The weights stay in the job's store: MLflow holds their address, settings and scores.
"""

import json
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models.utils import get_external_mlflow_model_spec
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL, MLFLOW_MODEL_VERSIONS

from orchestrator.scratch import scratch_folder
from orchestrator.tracking.content.registry_notes import model_note
from orchestrator.tracking.content.states import ModelState, RunState
from orchestrator.tracking.content.values import digest, registered_name

EXISTS = "RESOURCE_ALREADY_EXISTS"
_NOTE = "trsp.note"  # the tag that holds the digest of the description that a driver wrote


def logged_name(cell_name: str) -> str:
    """Return what MLflow takes as a LoggedModel's name: ``10% l1=0.02`` -> ``10pct l1=0_02``.

    It may not contain . / : % and quotes.
    """
    return re.sub(r"[./:\"']", "_", cell_name.replace("%", "pct"))


@dataclass(frozen=True)
class Registered:
    """Where a checkpoint is in MLflow: its LoggedModel, and its version of the registered model."""

    model_id: str
    version: str


class ModelWriter:
    """Writes checkpoints into one experiment and the registry, each once."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._known: dict[tuple[str, str], Registered] = {}
        self._registered: set[str] = set()  # names of registered models that are there
        self._described: dict[tuple[str, str], str] = {}  # what each version was seen to say

    def write(self, run_id: str, state: RunState, *, is_new: bool = False) -> Registered:
        """Write the checkpoint of a run's state, which must have one, or find it written.

        ``is_new``: the run was made by this process, so that it has no checkpoint yet.
        """
        model = state.model
        assert model is not None
        written = (run_id, model.content)
        if written not in self._known:
            logged = None if is_new else self._logged_model(run_id, model)
            if logged is None:
                logged = self._create(run_id, model, state)
                self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
            else:
                self._link(run_id, logged)
            version = self._version(run_id, model, logged)
            listed = json.dumps([{"name": version.name, "version": version.version}])
            self._client.set_logged_model_tags(logged.model_id, {MLFLOW_MODEL_VERSIONS: listed})
            self._known[written] = Registered(logged.model_id, str(version.version))
        self._describe(self._known[written], model)
        return self._known[written]

    def _describe(self, registered: Registered, model: ModelState) -> None:
        """Let the version say what is known of it now, unless a person has written something else.

        Scores come after the checkpoint. What was written last is known by its digest, a tag.
        """
        name, number = registered_name(model.source_model), registered.version
        if self._described.get((name, number)) == model.note:
            return
        version = self._client.get_model_version(name, number)
        if _is_ours(version) and version.description != model.note:
            self._client.update_model_version(name, number, model.note)
            self._client.set_model_version_tag(name, number, _NOTE, digest(model.note))
        self._described[name, number] = model.note

    def forget_registry(self) -> None:
        """Look again which registered models are there, before the next version is made."""
        self._registered = set()

    def _logged_model(self, run_id: str, model: ModelState) -> LoggedModel | None:
        """The LoggedModel that an earlier process made of this checkpoint, if it finished it."""
        models = self._client.search_logged_models(
            [self._experiment_id], f"source_run_id = '{run_id}'"
        )
        for logged in models:
            if logged.tags.get("trsp.content") == model.content and logged.status == "READY":
                return logged
        return None

    def _link(self, run_id: str, logged: LoggedModel) -> None:
        """Make the model an output of its run, unless it is one."""
        outputs = self._client.get_run(run_id).outputs
        linked = {output.model_id for output in outputs.model_outputs} if outputs else set()
        if logged.model_id not in linked:
            self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])

    def _create(self, run_id: str, model: ModelState, state: RunState) -> LoggedModel:
        """Do what ``mlflow.create_external_model`` does, without its global tracking URI."""
        tags = _tags(model) | {MLFLOW_MODEL_IS_EXTERNAL: "true"}
        logged = self._client.create_logged_model(
            self._experiment_id,
            logged_name(model.name),
            run_id,
            tags,
            dict(state.params),
            "pruned checkpoint",
        )
        with scratch_folder("mlflow") as folder:
            get_external_mlflow_model_spec(logged).save(str(folder / "MLmodel"))
            self._client.log_model_artifacts(logged.model_id, str(folder))
        return self._client.finalize_logged_model(logged.model_id, "READY")

    def _version(self, run_id: str, model: ModelState, logged: LoggedModel) -> ModelVersion:
        """The registered version of this checkpoint, made if need be."""
        name = self._registered_model(model.source_model)
        for version in versions(self._client, name, model.cell):
            if version.tags.get("trsp.content") == model.content:
                return version
        # The tag, because MLflow's SQL registry forgets the model_id that it is given below.
        tags = _tags(model) | {"trsp.logged_model": logged.model_id, _NOTE: digest(model.note)}
        made = self._client.create_model_version(
            name,
            self._source(model.uri, logged),
            run_id,
            tags,
            description=model.note,
            model_id=logged.model_id,
        )
        self._described[name, str(made.version)] = model.note
        return made

    def _source(self, uri: str, logged: LoggedModel) -> str:
        """What a version names as its source: the checkpoint itself, where MLflow takes that.

        A tracking server refuses folders of a machine that is not its own: there the LoggedModel.
        """
        server = urlsplit(self._client.tracking_uri).scheme in ("http", "https")
        local = urlsplit(uri).scheme in ("", "file")
        return f"models:/{logged.model_id}" if server and local else uri

    def _registered_model(self, source_model: str) -> str:
        """Make the registered model of a source model unless it is there; return its name."""
        name = registered_name(source_model)
        if name in self._registered:
            return name
        tags = {"trsp.model": source_model}
        try:
            self._client.create_registered_model(name, tags, model_note(source_model))
        except MlflowException as error:
            if error.error_code != EXISTS:
                raise
        self._registered.add(name)
        return name


def _tags(model: ModelState) -> dict[str, str]:
    return {
        "trsp.cell": model.cell,
        "trsp.content": model.content,
        "trsp.checkpoint": model.uri,
    }


def _is_ours(version: ModelVersion) -> bool:
    """Whether a version's description is as a driver wrote it; those from before said no digest."""
    now = digest(version.description)
    return bool(version.tags.get(_NOTE, now) == now)


def versions(client: MlflowClient, name: str, cell_key: str) -> list[ModelVersion]:
    """Return the versions of a registered model that were made for a cell, newest first."""
    listed = client.search_model_versions(
        f"name = '{name}' AND tags.`trsp.cell` = '{cell_key}'", max_results=1000
    )
    return sorted(listed, key=lambda version: int(version.version), reverse=True)
