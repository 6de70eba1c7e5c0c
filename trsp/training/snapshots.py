"""Where a stage that still trains keeps its state, so that a killed one goes on.

A snapshot is one file per rank and a small JSON state that is written last: what it does not name
does not exist. No attempt writes into the folder of another, so the files of a half-written
snapshot are never taken for those of a whole one. Knows no engine, no tensors and no store.

    ROOT/000120-ATTEMPT/rank-00000.safetensors, rank-00001.safetensors, ...
                        state.json    {"step": 120, "files": {NAME: BYTES, ...}, "state": {...}}
"""

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

STATE = "state.json"


@dataclass(frozen=True)
class Snapshot:
    """A committed snapshot.

    ``step`` counts finished steps; ``files`` maps names to sizes in bytes; ``state`` is JSON.
    """

    name: str
    step: int
    files: Mapping[str, int]
    state: Mapping[str, Any]


class Snapshots(Protocol):
    """The snapshots of one stage."""

    def latest(self) -> Snapshot | None:
        """The committed snapshot of the highest step whose files are all there, whole; or None."""

    def open(self, snapshot: Snapshot, file: str) -> AbstractContextManager[BinaryIO]:
        """Open one of its files, to read from anywhere in it (seek, readinto).

        A rank reads the ranges that it needs and no more.
        """

    def create(self, step: int, file: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file of a snapshot that does not exist yet, to be written in one go.

        Once closed it is where it belongs.
        """

    def commit(self, step: int, files: Mapping[str, int], state: Mapping[str, Any]) -> None:
        """Let this snapshot exist from now on, and no other one.

        Called on one rank, after all have written their ``files``. ValueError: a number of the
        state is not finite.
        """

    def keep_only(self, snapshot: Snapshot | None) -> None:
        """Remove all others, and what never became one. Called on one rank, while none writes."""


class Folder(Protocol):
    """What snapshots need of a file system. Paths are ``NAME`` for folders and ``NAME/FILE``."""

    def names(self) -> Sequence[str]:
        """The names of all folders, in no order."""

    def size(self, path: str) -> int | None:
        """The bytes that a file has; None where there is none."""

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole or not at all."""

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Open a file, to read from anywhere in it."""

    def create(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file to be written, and make its folder."""

    def remove(self, name: str) -> None:
        """Remove a folder, if it is there."""


class LocalFolder:
    """A folder of this machine, or one that all machines see."""

    def __init__(self, root: Path | str) -> None:
        self._root = Path(root)

    def names(self) -> Sequence[str]:
        if not self._root.is_dir():
            return []
        return [entry.name for entry in self._root.iterdir() if entry.is_dir()]

    def size(self, path: str) -> int | None:
        file = self._root / path
        return file.stat().st_size if file.is_file() else None

    def read(self, path: str) -> bytes | None:
        file = self._root / path
        return file.read_bytes() if file.is_file() else None

    def write(self, path: str, data: bytes) -> None:
        temporary = self._root / f"{path}.{uuid.uuid4().hex[:8]}"
        temporary.write_bytes(data)
        temporary.replace(self._root / path)

    def open(self, path: str) -> BinaryIO:
        return (self._root / path).open("rb")

    def create(self, path: str) -> BinaryIO:
        (self._root / path).parent.mkdir(parents=True, exist_ok=True)
        return (self._root / path).open("wb")

    def remove(self, name: str) -> None:
        shutil.rmtree(self._root / name, ignore_errors=True)


class FolderSnapshots:
    """Snapshots in a folder.

    ``attempt`` is the same on all ranks of a gang, and was never used before in this folder.
    ``require`` raises where this attempt may change nothing any more. Even where that becomes so
    right afterwards, nothing of a later attempt is removed.
    """

    def __init__(
        self,
        folder: Folder | Path | str,
        attempt: str | None = None,
        require: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder: Folder = LocalFolder(folder) if isinstance(folder, Path | str) else folder
        self._attempt = attempt or uuid.uuid4().hex[:8]
        self._require = require

    def latest(self) -> Snapshot | None:
        for name in sorted(self._folder.names(), key=_step_of, reverse=True):
            if (snapshot := self._committed(name)) is not None:
                return snapshot
        return None

    def _committed(self, name: str) -> Snapshot | None:
        """The snapshot in the folder ``name``; None where it is not committed, or not readable."""
        data = self._folder.read(f"{name}/{STATE}")
        try:
            stored = json.loads(data) if data else None
        except ValueError:  # cut short by a lost power supply
            return None
        match stored:
            case {"step": int(step), "files": dict(files), "state": dict(state)}:
                whole = all(self._folder.size(f"{name}/{file}") == files[file] for file in files)
                return Snapshot(name, step, files, state) if whole else None
        return None

    def open(self, snapshot: Snapshot, file: str) -> AbstractContextManager[BinaryIO]:
        return self._folder.open(f"{snapshot.name}/{file}")

    def create(self, step: int, file: str) -> AbstractContextManager[BinaryIO]:
        return self._folder.create(f"{self._name(step)}/{file}")

    def commit(self, step: int, files: Mapping[str, int], state: Mapping[str, Any]) -> None:
        others = self._all_but(self._name(step))
        stored = {"step": step, "files": dict(files), "state": dict(state)}
        text = json.dumps(stored, allow_nan=False)
        self._folder.write(f"{self._name(step)}/{STATE}", text.encode())
        self._remove(others)

    def keep_only(self, snapshot: Snapshot | None) -> None:
        self._remove(self._all_but(snapshot.name if snapshot else None))

    def _all_but(self, kept: str | None) -> list[str]:
        """All other folders: none of an attempt that came after this one.

        For they are listed before this attempt is seen to be the one that may change things.
        """
        names = [name for name in self._folder.names() if name != kept]
        self._require()
        return names

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._folder.remove(name)

    def _name(self, step: int) -> str:
        return f"{step:06d}-{self._attempt}"


def _step_of(name: str) -> int:
    """The step in a snapshot's name; -1 for what is not one."""
    step = name.partition("-")[0]
    return int(step) if step.isdigit() else -1
