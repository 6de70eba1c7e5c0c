"""One snapshot after the other, written while the training goes on wherever its state was copied.

Every rank's file is written by a thread of that rank, then the commit by one of rank 0; steps wait
for neither. There is one snapshot on its way at a time, so that one copy of the state is in memory.
What is said between ranks is said by their main threads, at steps. Knows no engine and no tensors.
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any, BinaryIO, Protocol

from trsp.distributed.collectives import all_gather, all_reduce_any, rank
from trsp.errors import TrainingDivergedError
from trsp.training.beside import beside, done
from trsp.training.snapshots import Snapshots

Save = Callable[[BinaryIO], int]  # writes a file, and returns its bytes


class Writable(Protocol):
    """What the bytes of a file go to."""

    def write(self, data: Any, /) -> int: ...


class Copied(Protocol):
    """The content of a file as it was at one moment."""

    def write(self, stream: Writable) -> int:
        """Write the file, once; return its bytes. Called by another thread, at a later moment."""


Copy = Callable[[], Copied | None]  # None: nothing was copied, the file is to be written at once


@dataclass
class _OnItsWay:
    """A snapshot that is not committed yet: what it will hold, and how far this rank has come."""

    step: int
    state: Mapping[str, Any]
    file: Future[int]  # the bytes of this rank's file
    given_up: Event
    commit: Future[None] | None = None  # None: before all files are known to be there


class SnapshotWriter:
    """Writes the snapshots of one training.

    What is called on all ranks together is called by all of them in the same order. ``idle`` is the
    same on all; ``busy`` is each rank's own.
    """

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._current: _OnItsWay | None = None

    @property
    def idle(self) -> bool:
        """Whether no snapshot is on its way, so that another may be taken."""
        return self._current is None

    @property
    def busy(self) -> bool:
        """Whether a thread of this rank still writes. What it has raised is raised here."""
        if self._current is None:
            return False
        working = self._current.commit or self._current.file
        if working.done():
            working.result()
        return not working.done()

    def take(self, step: int, state: Mapping[str, Any], save: Save, copy: Copy) -> None:
        """Begin the snapshot of ``step``, which is whole at once where no rank has copied.

        Called on all ranks together, while ``idle``. ``state`` is JSON, equal on all ranks.
        TrainingDivergedError, on all, where it holds a number that is not finite.
        """
        assert self._current is None
        state, given_up = _frozen(step, state), Event()
        self._current = _OnItsWay(step, state, self._file(step, save, copy, given_up), given_up)
        if not any(all_reduce_any(self.busy)):
            self._commit(self._current, beside_steps=False)

    def _file(self, step: int, save: Save, copy: Copy, given_up: Event) -> Future[int]:
        """Write this rank's file, or begin to."""
        copied = copy()
        if copied is None:
            return done(self._write(step, save))
        return beside(lambda: self._write(step, lambda to: copied.write(_Stoppable(to, given_up))))

    def _write(self, step: int, save: Save) -> int:
        with self._snapshots.create(step, _file_of(rank())) as stream:
            return save(stream)

    def advance(self) -> None:
        """Go on with what is on its way: commit it, or be done with it.

        Called on all ranks together, where none is ``busy``.
        """
        current = self._current
        if current is None:
            return
        if current.commit is None:
            self._commit(current, beside_steps=True)
        else:
            self._current = None

    def _commit(self, current: _OnItsWay, *, beside_steps: bool) -> None:
        """Let the snapshot exist, all of whose files are there; rank 0 does."""
        sizes = all_gather(current.file.result())
        files = {_file_of(index): size for index, size in enumerate(sizes)}
        commit = partial(self._snapshots.commit, current.step, files, current.state)
        if beside_steps:
            current.commit = beside(commit) if rank() == 0 else done(None)
            return
        if rank() == 0:
            commit()
        self._current = None

    def finish(self) -> None:
        """Wait until what is on its way is committed. Called on all ranks together."""
        current = self._current
        if current is None:
            return
        if current.commit is None:
            current.file.result()
            self._commit(current, beside_steps=False)
        else:
            current.commit.result()
            self._current = None
        all_reduce_any(False)  # nobody writes a next one while rank 0 removes all others

    def give_up(self) -> None:
        """Stop what this rank still writes, and wait for that; it is never committed.

        A commit that has begun is waited for. Nothing is raised.
        """
        current, self._current = self._current, None
        if current is not None:
            current.given_up.set()
            (current.commit or current.file).exception()


class _GivenUpError(Exception):
    """A file is not written any further."""


class _Stoppable:
    """A stream whose next write fails once ``given_up`` is set."""

    def __init__(self, stream: Writable, given_up: Event) -> None:
        self._stream, self._given_up = stream, given_up

    def write(self, data: Any, /) -> int:
        if self._given_up.is_set():
            raise _GivenUpError
        return self._stream.write(data)


def _frozen(step: int, state: Mapping[str, Any]) -> Any:
    """A copy of the state, which the training goes on changing."""
    try:
        return json.loads(json.dumps(state, allow_nan=False))
    except ValueError as error:
        raise TrainingDivergedError(
            f"the state after step {step} holds a number that is not finite"
        ) from error


def _file_of(of_rank: int) -> str:
    return f"rank-{of_rank:05d}.safetensors"
