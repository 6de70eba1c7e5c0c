"""Where a stage that still trains keeps its state, so that a killed one goes on. Knows no engine, no tensors and no store.

A snapshot is one file a rank and a small JSON state that is written last: what it does not name does not exist. Nothing is
ever written into the folder of an earlier attempt, so a half-written snapshot cannot be mixed with a whole one.

    ROOT/000120-ATTEMPT/rank-00000.safetensors, rank-00001.safetensors, ...
                        state.json               {"step": 120, "files": {"rank-00000.safetensors": BYTES, ...}, "state": ...}
"""

import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

STATE = "state.json"
_NAME = re.compile(r"^(\d{6,})-")


class Snapshots(Protocol):
    """Snapshots of one stage. ``step`` counts finished steps."""

    def latest(self) -> tuple[int, Mapping[str, Any]] | None:
        """Step and JSON state of the newest committed snapshot whose files are all there; None where there is none."""

    def names(self, step: int) -> Sequence[str]:
        """The files of the snapshot that ``latest`` found, of all ranks."""

    def open(self, step: int, name: str) -> AbstractContextManager[BinaryIO]:
        """One of them, to read from anywhere in it (seek, readinto): a rank reads the ranges it needs and no more."""

    def create(self, step: int, name: str) -> AbstractContextManager[BinaryIO]:
        """A new file of an uncommitted snapshot, to be written in one go; on leaving, it is where it belongs."""

    def commit(self, step: int, state: Mapping[str, Any]) -> None:
        """Rank 0 alone, after every rank has left ``create``: this is the latest now, and all others are removed."""


def snapshot_name(step: int, attempt: str) -> str:
    """The name of a snapshot's folder; names sort by step."""
    return f"{step:06d}-{attempt}"


def step_of(name: str) -> int | None:
    """The step in the name of a snapshot's folder; None for other folders."""
    found = _NAME.match(name)
    return int(found[1]) if found else None


class FolderSnapshots:
    """Snapshots in a local folder, which all ranks see. ``attempt``: the same on all ranks, and never used before."""

    def __init__(self, root: Path | str, attempt: str | None = None) -> None:
        self._root, self._attempt = Path(root), attempt or uuid.uuid4().hex[:8]
        self._found: Path | None = None

    def latest(self) -> tuple[int, Mapping[str, Any]] | None:
        raise NotImplementedError

    def names(self, step: int) -> Sequence[str]:
        raise NotImplementedError

    @contextmanager
    def open(self, step: int, name: str) -> Iterator[BinaryIO]:
        raise NotImplementedError
        yield

    @contextmanager
    def create(self, step: int, name: str) -> Iterator[BinaryIO]:
        raise NotImplementedError
        yield

    def commit(self, step: int, state: Mapping[str, Any]) -> None:
        raise NotImplementedError
