"""Snapshots that are written while the training goes on: the state is that of their step."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

import pytest

from trsp.errors import InvalidInputError, PreemptedError
from trsp.training.progress import Progress
from trsp.training.snapshots import FolderSnapshots

DEADLINE_S = 20.0


class Bytes:
    """A copied file: some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def write(self, stream: Any) -> int:
        return sum(stream.write(bytes([each])) for each in self._data)


class Held(FolderSnapshots):
    """Snapshots on a disk that takes no byte before it is let go, and then may refuse them."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        super().__init__(folder, "held")
        self.let_go, self.reached, self._error = Event(), Event(), error

    @contextmanager
    def create(self, step: int, file: str) -> Iterator[Any]:
        with super().create(step, file) as stream:
            yield HeldStream(self, stream)

    def wait(self) -> None:
        self.reached.set()
        assert self.let_go.wait(DEADLINE_S)
        if self._error is not None:
            raise self._error


class HeldStream:
    """A stream of ``Held``."""

    def __init__(self, held: Held, stream: BinaryIO) -> None:
        self._held, self._stream = held, stream

    def write(self, data: Any) -> int:
        self._held.wait()
        return self._stream.write(data)


class Loop:
    """A training of nothing, one step at a time, whose state is the step."""

    def __init__(self, snapshots: FolderSnapshots, **settings: Any) -> None:
        self.step, self.direct = 0, 0
        self.progress = Progress(snapshots, **{"every_steps": 2, **settings})
        self.progress.begin({})

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step += 1
            self.progress.step_done(self.step, self._save, self._state, self._copy)

    def _state(self) -> dict[str, int]:
        return {"step": self.step}

    def _copy(self) -> Bytes:
        return Bytes(f"after {self.step}".encode())

    def _save(self, stream: BinaryIO) -> int:
        self.direct += 1
        return stream.write(f"after {self.step}".encode())


def kept(folder: Path) -> tuple[int, str] | None:
    """The step and the content of the snapshot that another process would go on from."""
    snapshots = FolderSnapshots(folder)
    found = snapshots.latest()
    if found is None:
        return None
    assert found.state["loop"] == {"step": found.step}
    with snapshots.open(found, "rank-00000.safetensors") as stream:
        return found.step, stream.read().decode()


def soon(condition: Callable[[], bool], meanwhile: Callable[[], object] = lambda: None) -> None:
    """Do ``meanwhile`` again and again until the condition holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        meanwhile()
        time.sleep(0.001)


def test_steps_do_not_wait_for_the_disk(tmp_path: Path) -> None:
    snapshots = Held(tmp_path)
    loop = Loop(snapshots)
    with loop.progress:
        loop.steps(7)  # would never end if one of them waited
        assert kept(tmp_path) is None
        snapshots.let_go.set()
        loop.progress.__exit__(None, None, None)
    assert kept(tmp_path) == (2, "after 2")
    assert loop.direct == 0


def test_one_that_is_due_meanwhile_is_taken_afterwards(tmp_path: Path) -> None:
    snapshots = Held(tmp_path)
    loop = Loop(snapshots)
    with loop.progress:
        loop.steps(5)
        snapshots.let_go.set()
        soon(lambda: kept(tmp_path) not in (None, (2, "after 2")), lambda: loop.steps(1))
        step, content = kept(tmp_path) or (0, "")
    assert step > 5
    assert content == f"after {step}"


def test_killed_between_the_copy_and_the_commit_leaves_the_one_before(tmp_path: Path) -> None:
    first = Loop(FolderSnapshots(tmp_path, "before"))
    with first.progress:
        first.steps(2)
    snapshots = Held(tmp_path)
    loop = Loop(snapshots)
    loop.steps(2)
    assert snapshots.reached.wait(DEADLINE_S)
    assert kept(tmp_path) == (2, "after 2"), "as another process would find it"
    snapshots.let_go.set()


@pytest.mark.parametrize("at_the_end", [False, True], ids=["at the next step", "at the end"])
def test_what_a_write_raises_is_raised(tmp_path: Path, at_the_end: bool) -> None:
    snapshots = Held(tmp_path, OSError(28, "No space left on device"))
    loop = Loop(snapshots)
    loop.steps(3)
    snapshots.let_go.set()
    go_on = partial(loop.progress.__exit__, None, None, None)
    if not at_the_end:
        go_on = partial(soon, lambda: False, lambda: loop.steps(1))
    with pytest.raises(OSError, match="No space left"):
        go_on()
    assert kept(tmp_path) is None


def test_what_a_commit_raises_is_raised(tmp_path: Path) -> None:
    def lost() -> None:
        raise InvalidInputError("another attempt has taken over")

    loop = Loop(FolderSnapshots(tmp_path))
    snapshots = FolderSnapshots(tmp_path, "lost", lost)
    loop.progress = Progress(snapshots, every_steps=2)
    with pytest.raises(InvalidInputError, match="taken over"):
        soon(lambda: False, lambda: loop.steps(1))
    assert kept(tmp_path) is None


def test_told_to_leave_it_ends_what_is_on_its_way_and_takes_a_last_one(tmp_path: Path) -> None:
    snapshots = Held(tmp_path)
    loop = Loop(snapshots, leaving=lambda: loop.step == 3 and not snapshots.let_go.set())
    with pytest.raises(PreemptedError), loop.progress:
        loop.steps(9)
    assert kept(tmp_path) == (3, "after 3")
    assert loop.direct == 1, "the process has seconds left, and no steps to go on with"


def test_after_an_error_nothing_is_written_any_more(tmp_path: Path) -> None:
    snapshots = Held(tmp_path)
    loop = Loop(snapshots)
    loop.steps(2)
    assert snapshots.reached.wait(DEADLINE_S)
    snapshots.let_go.set()
    loop.progress.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert kept(tmp_path) is None
    files = [path.stat().st_size for path in tmp_path.rglob("rank-*")]
    time.sleep(0.02)
    assert [path.stat().st_size for path in tmp_path.rglob("rank-*")] == files
