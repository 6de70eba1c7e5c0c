"""Results of stages: what was asked, the record, the artifacts. Knows no grids, cells or MLflow.

``result.json`` is written last and names the folder of the artifacts: what it does not name does
not exist.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.redact import redact
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.files import StoreFiles, StoreFolder, UnreadableRecordError
from trsp.errors import StoreError


def stage_folder(key: str) -> str:
    """The folder of a stage below the root: ``stages/KIND/KEY``; keys are ``KIND-HASH``."""
    return f"stages/{key.rpartition('-')[0]}/{key}"


class StageResults:
    """Every stage's record and artifacts, by the stage's key.

    Whatever reads a result raises UnreadableRecordError where ``result.json`` holds no such thing.
    """

    def __init__(self, files: StoreFiles) -> None:
        self._files = files

    def uri(self, key: str) -> str:
        """The address of the folder in which everything about a stage lies, for people."""
        return self._files.address(stage_folder(key))

    def folder(self, key: str, name: str) -> StoreFolder:
        """A folder beside the stage's results, for more than whole small files."""
        return self._files.folder(f"{stage_folder(key)}/{name}")

    def stored(self, key: str) -> dict[str, Any] | None:
        """The fields of result.json: ``record``, ``files`` (None or a folder), ``versions``.

        And perhaps ``dropped``. None while there is none; UnreadableRecordError where the file
        holds anything else.
        """
        path = f"{stage_folder(key)}/result.json"
        stored = self._files.read_json(path)
        if stored is None:
            return None
        if not isinstance(stored, dict) or not isinstance(stored.get("record"), dict):
            raise UnreadableRecordError(self._files.shown(path), "it holds no result of a stage")
        return stored

    def done(self, key: str) -> bool:
        """Whether the result is there, and its artifacts, if it has any, have not been dropped."""
        stored = self.stored(key)
        return stored is not None and not stored.get("dropped", False)

    def result(self, key: str) -> dict[str, Any] | None:
        """The stage's record, as its module wrote it; None while there is none."""
        stored = self.stored(key)
        return stored["record"] if stored else None

    def files_uri(self, key: str) -> str | None:
        """The address of the stage's artifacts: a local path, or a URI of the object store.

        None where it has none.
        """
        stored = self.stored(key)
        return self.files_uri_in(key, stored) if stored else None

    def files_uri_in(self, key: str, stored: Mapping[str, Any]) -> str | None:
        """The address of the artifacts that a result, as ``stored`` gave it, names; else None."""
        name = stored.get("files")
        return self._files.address(f"{stage_folder(key)}/{name}") if name else None

    @contextmanager
    def local_files(self, key: str) -> Iterator[Path]:
        """The stage's artifacts as a local folder. Raises StoreError where it has none.

        It is the folder itself, or a download that is removed afterwards.
        """
        path = self._artifacts(key)
        if path is None:
            raise StoreError(
                f"{key} has no files in {redact(self._files.uri)}; run the grid again to make them"
            )
        if self._files.is_local:
            yield self._files.local_path(path)
            return
        with tempfile.TemporaryDirectory(prefix="trsp-") as folder:
            self._files.download(path, Path(folder))
            yield Path(folder)

    @contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """A new local folder for artifacts, to be handed to ``commit``; removed after an error.

        In a local store it already lies beside its result, so that committing copies nothing.
        """
        if not self._files.is_local:
            with tempfile.TemporaryDirectory(prefix="trsp-", ignore_cleanup_errors=True) as name:
                yield Path(name)
            return
        folder = self._files.local_path(f"{stage_folder(key)}/{_artifacts_name()}")
        folder.mkdir(parents=True)
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def commit(
        self,
        spec: StageSpec,
        record: Mapping[str, Any],
        files: Path | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        """Write the artifacts, what was asked, and last the result; then drop the snapshots.

        ``files``: the folder of artifacts that ``staging`` gave; None for a stage without any.
        ``versions``: of the software and hardware that it was computed with.
        """
        name = self._keep(spec.key, files) if files is not None else None
        self.write_spec(spec)
        self._write_result(spec.key, {"record": record, "files": name, "versions": versions or {}})
        self.drop_snapshots(spec.key)

    def _keep(self, key: str, staged: Path) -> str:
        """Bring staged artifacts to where they belong. Returns the name of their folder."""
        if self._files.is_local:
            return staged.name
        name = _artifacts_name()
        self._files.upload(staged, f"{stage_folder(key)}/{name}")
        return name

    def write_spec(self, spec: StageSpec) -> None:
        """Write what was asked: the inputs and reads that the key is a hash of."""
        self._files.write_json(
            f"{stage_folder(spec.key)}/spec.json",
            {"key": spec.key, "kind": spec.kind, "inputs": spec.inputs, "reads": spec.reads_hashed},
        )

    def write_file(self, key: str, name: str, data: bytes) -> None:
        """Add or replace one small file among a finished stage's artifacts (a model card, say).

        Nothing happens where the stage has no artifacts.
        """
        path = self._artifacts(key)
        if path is not None:
            self._files.write(f"{path}/{name}", data)

    def remove(self, key: str) -> None:
        """Delete a stage's result, at once and whole: whoever needs it makes it again.

        Only for the holder of the claim. Its artifacts, if it has any, are orphans from then on.
        """
        with suppress(FileNotFoundError):
            self._files.remove_file(f"{stage_folder(key)}/result.json")

    def drop_files(self, key: str) -> None:
        """Delete a stage's artifacts but keep its record.

        It is then not done for whoever still needs the files.
        """
        stored = self.stored(key)
        if stored and stored.get("files"):
            self._write_result(key, {**stored, "files": None, "dropped": True})
            self._files.remove_folder(f"{stage_folder(key)}/{stored['files']}")
        self.drop_snapshots(key)

    def drop_snapshots(self, key: str) -> None:
        """Delete the snapshots of a stage that is done, or that is to begin anew."""
        with suppress(FileNotFoundError):
            self._files.remove_folder(f"{stage_folder(key)}/snapshots")

    def remove_orphans(self, key: str) -> None:
        """Delete artifacts and rank reports of attempts that never committed.

        Only for the holder of the claim.
        """
        stored = self.stored(key) or {}
        for name in self._files.names(stage_folder(key)):
            orphan = name.startswith("files-") and name != stored.get("files")
            if orphan or name == "ranks":
                self._files.remove_folder(f"{stage_folder(key)}/{name}")

    def unreadable(self, key: str, reason: str) -> UnreadableRecordError:
        """The error to raise where the record in a stage's result is not one of its kind."""
        path = f"{stage_folder(key)}/result.json"
        return UnreadableRecordError(self._files.shown(path), reason)

    def _write_result(self, key: str, result: Mapping[str, Any]) -> None:
        self._files.write_json(f"{stage_folder(key)}/result.json", result)

    def _artifacts(self, key: str) -> str | None:
        """The folder of the stage's artifacts; None where it has none."""
        stored = self.stored(key)
        if not stored or not stored.get("files"):
            return None
        return f"{stage_folder(key)}/{stored['files']}"


def _artifacts_name() -> str:
    return f"files-{uuid.uuid4().hex[:8]}"
