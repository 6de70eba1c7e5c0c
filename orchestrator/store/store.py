"""Where stage results live: one folder a key, on a local disk, a shared file system, S3 or GCS. The store is the truth.

The only file that knows paths and ``pyarrow.fs``. Everything is written whole or not at all; ``result.json`` comes last
and means done. It knows nothing of grids, cells or MLflow.

    ROOT/grids/KEY.json                       the hardware a grid ran on
    ROOT/layouts/KEY.json                     how far the ladder was climbed, for stages that ran out of memory
    ROOT/stages/KIND/KEY/spec.json            what was asked: the resolved inputs that the key hashes
                         rounds/000.json      RANKING only: one removed layer each, published while the ranking runs
                         snapshots/           of a stage that still trains (trsp/snapshots.py); gone when it is done
                         ranks/               of a stage that runs (orchestrator/rank_reports.py)
                         files-ATTEMPT/       artifacts: weights, checkpoint
                         result.json          the record, and the name of its files folder
                         failures/ATTEMPT.json, log-ATTEMPT.txt
                         claim.json           who works on it now
"""

import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs as pafs
from pydantic import TypeAdapter

from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.failures import Failure
from trsp.errors import StoreError
from trsp.records import RoundRecord

_FAILURE = TypeAdapter(Failure)
CLAIM_LIFETIME_S = (
    60.0  # a claim not renewed for so long belongs to a dead driver on another machine
)


@dataclass(frozen=True)
class Claim:
    """Who works on a stage. Local processes are looked up by pid; a remote claim lives as long as it is renewed.

    ``process_start`` tells the process from a later one with its pid; empty where there is no ``/proc``.
    """

    owner: str
    host: str
    pid: int
    renewed: float
    process_start: str = ""

    @classmethod
    def mine(cls, owner: str) -> "Claim":
        return cls(
            owner, socket.gethostname(), os.getpid(), time.time(), _process_start(os.getpid())
        )

    def alive(self, now: float) -> bool:
        if self.host == socket.gethostname() and self.process_start:
            return _process_start(self.pid) == self.process_start
        return now - self.renewed < CLAIM_LIFETIME_S


def _process_start(pid: int) -> str:
    """When a process of this machine began, in clock ticks since boot (proc(5), field 22); empty when there is none."""
    try:
        return (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()[19]
        )
    except OSError:
        return ""


def stage_kind(key: str) -> str:
    return key.rpartition("-")[0]


class Store:
    """Stage results under one root: ``/path``, ``file:///path``, ``s3://bucket/prefix``, ``gs://bucket/prefix``.

    Options of the object store stand in the URI's query: ``s3://bucket/prefix?region=eu-west-1&endpoint_override=HOST``.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        try:
            if "://" in uri:
                self._fs, root = pafs.FileSystem.from_uri(self.uri)
            else:
                self._fs, root = pafs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
            self._root = root.rstrip("/")
            if not self._root:
                raise ValueError("it names no folder or bucket")
        except (OSError, ValueError) as error:
            raise StoreError(
                f"store {uri!r}: {error}; give a folder, s3://bucket/prefix or gs://bucket/prefix"
            ) from error
        self.is_local = isinstance(self._fs, pafs.LocalFileSystem)

    def _address(self, path: str) -> str:
        """What others open ``path`` by: the path itself, or a URI with the options of this store's."""
        if self.is_local:
            return path
        before, query, options = self.uri.partition("?")
        return f"{before.partition('://')[0]}://{path}{query}{options}"

    # --- whole files ------------------------------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Write, read back and delete a small file. Raises StoreError."""
        probe = f"{self._root}/.probe-{uuid.uuid4().hex}"
        try:
            self._write(probe, b"trsp")
            if self._read(probe) != b"trsp":
                raise StoreError(f"store {self.uri!r} does not give back what was written to it")
            self._fs.delete_file(probe)
        except OSError as error:
            raise StoreError(
                f"store {self.uri!r} cannot be written: {error}; give a writable folder or bucket in storage.store"
            ) from error

    def _write(self, path: str, data: bytes) -> None:
        """Whole or not at all: an object store commits on close, a file system on rename."""
        if not self.is_local:
            with self._fs.open_output_stream(path) as stream:
                stream.write(data)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        temporary.write_bytes(data)
        temporary.replace(target)

    def _read(self, path: str) -> bytes | None:
        try:
            with self._fs.open_input_stream(path) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def _write_json(self, path: str, value: Any) -> None:
        self._write(path, json.dumps(value, indent=1).encode())

    def _read_json(self, path: str) -> Any:
        """None when absent, or when a lost power supply left it unreadable."""
        data = self._read(path)
        try:
            return json.loads(data) if data else None
        except ValueError:
            return None

    def _names(self, path: str) -> list[str]:
        selector = pafs.FileSelector(path, allow_not_found=True)
        return sorted(
            info.base_name
            for info in self._fs.get_file_info(selector)
            if not info.base_name.startswith(".")
        )

    # --- stages -----------------------------------------------------------------------------------------------------

    def _stage(self, key: str) -> str:
        return f"{self._root}/stages/{stage_kind(key)}/{key}"

    def stage_uri(self, key: str) -> str:
        """Where everything about a stage lies, for people."""
        return self._address(self._stage(key))

    def done(self, key: str) -> bool:
        """Whether the result is there, and its artifacts, if it has any, have not been dropped."""
        stored = self._read_json(f"{self._stage(key)}/result.json")
        return bool(stored) and not stored.get("dropped", False)

    def result(self, key: str) -> dict[str, Any] | None:
        """The stage's record, as its module wrote it; None while there is none."""
        stored = self._read_json(f"{self._stage(key)}/result.json")
        return stored["record"] if stored else None

    def files_uri(self, key: str) -> str | None:
        """Address of the stage's artifacts: a local path, or a URI of the object store."""
        path = self._files(key)
        return self._address(path) if path else None

    def _files(self, key: str) -> str | None:
        stored = self._read_json(f"{self._stage(key)}/result.json")
        return f"{self._stage(key)}/{stored['files']}" if stored and stored.get("files") else None

    @contextmanager
    def local_files(self, key: str) -> Iterator[Path]:
        """The stage's artifacts as a local folder: the folder itself, or a download that is removed afterwards."""
        path = self._files(key)
        if path is None:
            raise StoreError(f"{key} has no files in {self.uri}; run the grid again to make them")
        if self.is_local:
            yield Path(path)
            return
        with tempfile.TemporaryDirectory(prefix="trsp-") as folder:
            pafs.copy_files(path, folder, source_filesystem=self._fs)
            yield Path(folder)

    @contextmanager
    def staging(self, key: str) -> Iterator[Path]:
        """A new folder for artifacts, handed to ``commit``; what is left in it after an error is removed.

        In a local store it already lies beside its result, so that committing copies nothing.
        """
        if self.is_local:
            folder = Path(f"{self._stage(key)}/files-{uuid.uuid4().hex[:8]}")
            folder.mkdir(parents=True)
        else:
            folder = Path(tempfile.mkdtemp(prefix="trsp-"))
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not self.is_local:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, spec: StageSpec, record: Mapping[str, Any], files: Path | None = None) -> None:
        """Write the artifacts, what was asked, and last the result; then the stage needs no snapshots any more."""
        stage = self._stage(spec.key)
        name = None
        if files is not None:
            name = files.name if self.is_local else f"files-{uuid.uuid4().hex[:8]}"
            if not self.is_local:
                pafs.copy_files(str(files), f"{stage}/{name}", destination_filesystem=self._fs)
        self.write_spec(spec)
        self._write_json(f"{stage}/result.json", {"record": record, "files": name})
        self.drop_snapshots(spec.key)

    def write_spec(self, spec: StageSpec) -> None:
        """What was asked, beside what came of it: the inputs and reads that the key is a hash of."""
        self._write_json(
            f"{self._stage(spec.key)}/spec.json",
            {"key": spec.key, "kind": spec.kind, "inputs": spec.inputs, "reads": spec.reads_hashed},
        )

    def write_file(self, key: str, name: str, data: bytes) -> None:
        """Add or replace one small file among a finished stage's artifacts (a model card with its scores)."""
        path = self._files(key)
        if path is not None:
            self._write(f"{path}/{name}", data)

    def drop_files(self, key: str) -> None:
        """Forget a stage's artifacts but keep its record; it counts as not done for whoever still needs the files."""
        stored = self._read_json(f"{self._stage(key)}/result.json")
        if stored and stored.get("files"):
            self._write_json(
                f"{self._stage(key)}/result.json", {**stored, "files": None, "dropped": True}
            )
            self._fs.delete_dir(f"{self._stage(key)}/{stored['files']}")
        self.drop_snapshots(key)

    def remove_orphans(self, key: str) -> None:
        """Delete artifacts of attempts that never committed. Only for the holder of the claim."""
        stored = self._read_json(f"{self._stage(key)}/result.json") or {}
        for name in self._names(self._stage(key)):
            if name == "ranks" or (name.startswith("files-") and name != stored.get("files")):
                self._fs.delete_dir(f"{self._stage(key)}/{name}")

    # --- grids ------------------------------------------------------------------------------------------------------

    def save_grid(self, key: str, facts: Mapping[str, Any]) -> None:
        """What only a running cluster knows of a grid (its hardware), for those who read the results without one."""
        self._write_json(f"{self._root}/grids/{key}.json", facts)

    def grid(self, key: str) -> dict[str, Any]:
        """What ``save_grid`` wrote; empty for a grid that never ran."""
        return self._read_json(f"{self._root}/grids/{key}.json") or {}

    # --- what was learned of memory -----------------------------------------------------------------------------------

    def save_layout(self, key: str, layout: Mapping[str, Any]) -> None:
        """For all drivers: stages whose layout begins at ``key`` are to begin at this one."""
        self._write_json(f"{self._root}/layouts/{key}.json", layout)

    def layout(self, key: str) -> dict[str, Any] | None:
        """What ``save_layout`` wrote last; None while there was no need."""
        stored: dict[str, Any] | None = self._read_json(f"{self._root}/layouts/{key}.json")
        return stored

    # --- rankings, round by round -----------------------------------------------------------------------------------

    def publish_round(self, key: str, record: RoundRecord) -> None:
        self._write(
            f"{self._stage(key)}/rounds/{record.round:03d}.json", record.model_dump_json().encode()
        )

    def rounds(self, key: str, start: int = 0) -> tuple[RoundRecord, ...]:
        """Published rounds from ``start`` on, up to the first that is missing or unreadable."""
        found: list[RoundRecord] = []
        while stored := self._read_json(f"{self._stage(key)}/rounds/{start + len(found):03d}.json"):
            found.append(RoundRecord.model_validate(stored))
        return tuple(found)

    # --- snapshots, step by step ------------------------------------------------------------------------------------

    def folder(self, key: str, name: str) -> "StoreFolder":
        """A folder beside the stage's results, for those who keep more than whole small files in it."""
        return StoreFolder(self, self._fs, f"{self._stage(key)}/{name}")

    def drop_snapshots(self, key: str) -> None:
        """The stage is done, or begins anew."""
        with suppress(FileNotFoundError):
            self._fs.delete_dir(f"{self._stage(key)}/snapshots")

    # --- failures and logs ------------------------------------------------------------------------------------------

    def record_failure(self, key: str, failure: Failure, log: str = "") -> None:
        """The record for machines, and for people a text that ends with ``log``, the last lines of what was printed."""
        attempt = f"{time.time_ns()}"
        self._write(
            f"{self._stage(key)}/log-{attempt}.txt",
            f"{failure.text}\n{log or failure.details}".encode(),
        )
        self._write_json(f"{self._stage(key)}/failures/{attempt}.json", asdict(failure))

    def failures(self, key: str) -> tuple[Failure, ...]:
        """Oldest first."""
        folder = f"{self._stage(key)}/failures"
        stored = (self._read_json(f"{folder}/{name}") for name in self._names(folder))
        return tuple(_FAILURE.validate_python(value) for value in stored if value)

    # --- claims -----------------------------------------------------------------------------------------------------

    def claim(self, key: str, owner: str) -> Claim | None:
        """Take a stage for ``owner``. Returns None when it is ours now, or the living claim of somebody else.

        Exact on a file system. On an object store two drivers that start within the same second may both win; they then
        do equal work, and either result is right.
        """
        while True:
            held = self.claim_of(key)
            if held and held.owner != owner and held.alive(time.time()):
                return held
            if not self.is_local or (held and held.owner == owner):
                self.renew(key, owner)
                return None
            if self._take(key, owner, held):
                return None

    def _take(self, key: str, owner: str, held: Claim | None) -> bool:
        """Claim a stage that had no claim but ``held``, a dead or unreadable one. False: look again.

        A hard link is made whole, and only where nothing stands yet; of two that move a file away, one finds it gone.
        """
        path = Path(f"{self._stage(key)}/claim.json")
        mine = path.with_name(f".claim.json.{uuid.uuid4().hex[:8]}")
        self._write_json(str(mine), asdict(Claim.mine(owner)))
        try:
            path.hardlink_to(mine)
            return True
        except FileExistsError:
            with suppress(FileNotFoundError, FileExistsError):
                path.replace(mine)
                if self._claim_at(str(mine)) != held:  # somebody was faster, and this is theirs
                    path.hardlink_to(mine)
            return False
        except OSError:  # a file system without hard links: as on an object store
            self.renew(key, owner)
            return True
        finally:
            mine.unlink(missing_ok=True)

    def claim_of(self, key: str) -> Claim | None:
        return self._claim_at(f"{self._stage(key)}/claim.json")

    def _claim_at(self, path: str) -> Claim | None:
        stored = self._read_json(path)
        return Claim(**stored) if stored else None

    def renew(self, key: str, owner: str) -> None:
        self._write_json(f"{self._stage(key)}/claim.json", asdict(Claim.mine(owner)))

    def release(self, key: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.delete_file(f"{self._stage(key)}/claim.json")


class StoreFolder:
    """``trsp.training.snapshots.Folder`` in a store: files are streamed to and from where they belong, with no local copy."""

    def __init__(self, store: Store, fs: Any, root: str) -> None:
        self._store, self._fs, self._root = store, fs, root

    def names(self) -> list[str]:
        selector = pafs.FileSelector(self._root, allow_not_found=True)
        return [
            info.base_name
            for info in self._fs.get_file_info(selector)
            if info.type == pafs.FileType.Directory
        ]

    def size(self, path: str) -> int | None:
        info = self._fs.get_file_info(f"{self._root}/{path}")
        return int(info.size) if info.type == pafs.FileType.File else None

    def read(self, path: str) -> bytes | None:
        return self._store._read(f"{self._root}/{path}")

    def write(self, path: str, data: bytes) -> None:
        self._store._write(f"{self._root}/{path}", data)

    def open(self, path: str) -> Any:
        return self._fs.open_input_file(f"{self._root}/{path}")

    def create(self, path: str) -> Any:
        self._fs.create_dir(f"{self._root}/{path.rpartition('/')[0]}")
        return self._fs.open_output_stream(f"{self._root}/{path}")

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.delete_dir(f"{self._root}/{name}")
