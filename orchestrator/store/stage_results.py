"""Results of stages: what was asked, the record, the artifacts. Knows no grids, cells or MLflow.

``result.json`` is written last and names the folder of the artifacts: what it does not name does
not exist. It follows from the commit in the stage's log, which only the owning attempt can make.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.coordination.stage_log import (
    ClaimLostError,
    Prepared,
    StageLog,
    Standing,
    Ticket,
    stage_folder,
)
from orchestrator.redact import redact
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.stages.timings import StageTimings
from orchestrator.store.copies.artifacts import Artifacts
from orchestrator.store.files import StoreFiles, StoreFolder, UnreadableRecordError
from orchestrator.store.patience import passes
from trsp.errors import StoreError


class StageResults:
    """Every stage's record and artifacts, by the stage's key.

    Whatever reads a result raises UnreadableRecordError where ``result.json`` holds no such thing.
    """

    def __init__(self, files: StoreFiles, log: StageLog) -> None:
        self._files, self._log = files, log
        self._perhaps_committed: set[str] = set()  # attempts of this process
        self._folders = Artifacts(files)

    def uri(self, key: str) -> str:
        """The address of the folder in which everything about a stage lies, for people."""
        return self._files.address(stage_folder(key))

    def contents(self, key: str) -> set[str]:
        """The names of all that lies in the stage's folder; empty where there is none."""
        return set(self._files.names(stage_folder(key)))

    def folder(self, key: str, name: str) -> StoreFolder:
        """A folder beside the stage's results, for more than whole small files."""
        return self._files.folder(f"{stage_folder(key)}/{name}")

    def stored(self, key: str) -> dict[str, Any] | None:
        """The fields of result.json: ``record``, ``files`` (None or a folder), ``versions``.

        And perhaps ``timings`` and ``dropped``. None while there is none; UnreadableRecordError
        where the file holds anything else.
        """
        stored = self._files.read_json(f"{stage_folder(key)}/result.json")
        if stored is None:
            return None
        if not isinstance(stored, dict) or not isinstance(stored.get("record"), dict):
            raise self.unreadable(key, "it holds no result of a stage")
        return stored

    def done(self, key: str) -> bool:
        """Whether the result is there, and its artifacts, if it has any, have not been dropped."""
        stored = self.stored(key)
        return stored is not None and not stored.get("dropped", False)

    def result(self, key: str) -> dict[str, Any] | None:
        """The stage's record, as its module wrote it; None while there is none."""
        stored = self.stored(key)
        return stored["record"] if stored else None

    def files_uri(self, key: str, stored: Mapping[str, Any]) -> str | None:
        """The address of the artifacts that a result, as ``stored`` gave it, names; else None.

        It is a local path, or a URI of the object store.
        """
        name = stored.get("files")
        return self._files.address(f"{stage_folder(key)}/{name}") if name else None

    @contextmanager
    def local_files(self, key: str) -> Iterator[Path]:
        """The stage's artifacts as a local folder. Raises StoreError where it has none.

        It is the folder itself, or of an object store what this node has of it, or downloads now:
        all but the model card. Nothing in it may change.
        """
        path = self._artifacts(key)
        if path is None:
            raise StoreError(
                f"{key} has no files in {redact(self._files.uri)}; run the grid again to make them"
            )
        with self._folders.local(path) as folder:
            yield folder

    @contextmanager
    def staging(self, ticket: Ticket) -> Iterator[Path]:
        """A new local folder for artifacts, to be handed to ``commit``; removed after an error.

        In a local store it already lies beside its result, so that committing copies nothing. There
        it stays where an error leaves open whether the result names it: else it is an orphan.
        """
        path, perhaps = self._artifacts_of(ticket), self._perhaps_committed
        with self._folders.staging(path, lambda: ticket.attempt in perhaps) as folder:
            yield folder

    def commit(
        self,
        ticket: Ticket,
        spec: StageSpec,
        record: Mapping[str, Any],
        files: Path | None = None,
        versions: Mapping[str, str] | None = None,
        times: Callable[[], StageTimings] | None = None,
    ) -> None:
        """Write the artifacts, what was asked, and last the result; then drop the snapshots.

        ``files``: the folder of artifacts that ``staging`` gave; None for a stage without any.
        ``versions``: of the software and hardware that it was computed with. ``times`` is asked
        where its seconds went once all but the result is written. Raises ClaimLostError, with
        nothing left behind, where the stage is no longer the attempt's own.
        """
        self.commit_prepared(self.prepare(ticket, spec, record, files, versions, times))

    def prepare(
        self,
        ticket: Ticket,
        spec: StageSpec,
        record: Mapping[str, Any],
        files: Path | None = None,
        versions: Mapping[str, str] | None = None,
        times: Callable[[], StageTimings] | None = None,
    ) -> Prepared:
        """Write all that ``commit`` writes but the result, and return what is to be committed."""
        assert ticket.key == spec.key
        self._log.require(ticket)
        name = files and self._artifacts_of(ticket).rpartition("/")[2]
        if files is not None:
            self._folders.send(files, self._artifacts_of(ticket))
        self.write_spec(spec)
        result = {"record": record, "files": name, "versions": versions or {}}
        return Prepared(ticket, result | ({"timings": times().to_json()} if times else {}))

    def commit_prepared(self, prepared: Prepared, reader: Prepared | None = None) -> None:
        """Commit what was prepared. With a ``reader``, made of its artifacts, both are or none is.

        The artifacts, which were perhaps never written, then count as dropped.
        """
        both = [prepared] if reader is None else [prepared, reader]
        attempts = {each.ticket.attempt for each in both}
        dropped = {} if reader is None else {"dropped": True}
        self._perhaps_committed |= attempts
        try:
            self._log.commit(prepared.ticket, {**prepared.result, **dropped}, reader)
        except ClaimLostError:
            self._perhaps_committed -= attempts
            with suppress(OSError):
                for each in both:
                    self._remove_folder(each.ticket.key, each.result["files"])
            raise
        except OSError as error:
            if not passes(error) and self._log.standing(prepared.ticket) is Standing.HELD:
                self._perhaps_committed -= attempts  # it was refused
            raise
        for each in both:
            self._folders.keep(self._artifacts_of(each.ticket))
        with suppress(OSError):  # the stage is done: what cannot be removed is no failure of it
            self.drop_snapshots(prepared.ticket.key)

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

    def has_files(self, key: str) -> bool:
        """Whether the stage has artifacts, or some of them while they are being dropped."""
        return bool((self.stored(key) or {}).get("files"))

    def drop_files(self, key: str) -> None:
        """Delete a stage's artifacts but keep its record. Only for the holder of the claim.

        It is then not done for whoever still needs the files. The result names them until they are
        gone: whoever finds them named goes on where another was killed, or the store was away.
        """
        stored, path = self.stored(key) or {}, f"{stage_folder(key)}/result.json"
        for name in (stored["files"], None) if stored.get("files") else ():
            self._files.write_json(path, {**stored, "files": name, "dropped": True})
            self._remove_folder(key, name)
        self._folders.forget(f"{stage_folder(key)}/{stored.get('files')}")
        self.drop_snapshots(key)

    def drop_snapshots(self, key: str) -> None:
        """Delete the snapshots of a stage that is done, or that is to begin anew."""
        self._remove_folder(key, "snapshots")

    def _remove_folder(self, key: str, name: str | None) -> None:
        """Delete a folder of the stage, where there is one."""
        with suppress(FileNotFoundError):
            if name:
                self._files.remove_folder(f"{stage_folder(key)}/{name}")

    def remove_orphans(self, key: str) -> None:
        """Delete artifacts and rank reports of attempts that never committed.

        Only for the holder of the claim, who has not started: all earlier attempts have lost the
        stage, and can commit no more.
        """
        kept = self._artifacts(key)
        for name in self._files.names(stage_folder(key)):
            path = f"{stage_folder(key)}/{name}"
            if name == "ranks" or (name.startswith("files-") and path != kept):
                self._files.remove_folder(path)
            if name == "claim.json":  # of a driver of before, whose claims are not honoured
                self._files.remove_file(path)

    def look_afresh(self, key: str) -> None:
        """Have NFS look anew at a stage's folders, for what other nodes just wrote there."""
        for folder in (stage_folder(key), f"{stage_folder(key)}/rounds"):
            self._files.look_afresh(folder)

    def unreadable(self, key: str, reason: str) -> UnreadableRecordError:
        """The error to raise where the record in a stage's result is not one of its kind."""
        path = f"{stage_folder(key)}/result.json"
        return UnreadableRecordError(self._files.shown(path), reason)

    @staticmethod
    def _artifacts_of(ticket: Ticket) -> str:
        """The folder for the artifacts of an attempt."""
        return f"{stage_folder(ticket.key)}/files-{ticket.attempt}"

    def _artifacts(self, key: str) -> str | None:
        """The folder of the stage's artifacts; None where it has none, or they are dropped."""
        stored = self.stored(key) or {}
        name = None if stored.get("dropped") else stored.get("files")
        return f"{stage_folder(key)}/{name}" if name else None
