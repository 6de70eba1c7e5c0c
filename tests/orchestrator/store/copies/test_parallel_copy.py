"""Folders to and from S3 in parts: equal to the byte, patient per part, in bounded memory."""

import contextlib
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store import patience
from orchestrator.store.copies import parallel_copy
from orchestrator.store.store import Store

NAMES = ("weights", "inside/config.json", "empty")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_copy, "READ_BYTES", 1000)
    monkeypatch.setattr(parallel_copy, "WRITE_BYTES", 1000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    for name, size_bytes in zip(NAMES, (4500, 10, 0), strict=True):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(os.urandom(size_bytes))
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in NAMES}


class Unsteady:
    """A file system whose files fail to be read at some byte, for so many times."""

    def __init__(self, fs: Any, begin: int, failures: int) -> None:
        self.fs, self.begin, self.failures = fs, begin, failures
        self.read: list[int] = []

    def open_input_file(self, path: str) -> "_UnsteadyFile":
        return _UnsteadyFile(self, self.fs.open_input_file(path))


class _UnsteadyFile:
    def __init__(self, unsteady: Unsteady, file: Any) -> None:
        self._unsteady, self._file = unsteady, file

    def read_at(self, size_bytes: int, begin: int) -> bytes:
        self._unsteady.read.append(begin)
        if begin == self._unsteady.begin and self._unsteady.failures:
            self._unsteady.failures -= 1
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return bytes(self._file.read_at(size_bytes, begin))


def test_a_folder_comes_back_as_it_was(remote: Store, folder: Path, tmp_path: Path) -> None:
    remote.files.upload(folder, "a")
    sizes = remote.files.sizes("a")
    assert sizes == dict(zip(NAMES, (4500, 10, 0), strict=True))
    remote.files.download("a", tmp_path / "back", sizes)
    assert contents(tmp_path / "back") == contents(folder)


def test_a_file_is_read_in_parts_and_only_the_one_that_failed_again(
    remote: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WAITS_S", (0.0, 0.0))
    remote.files.upload(folder, "a")
    unsteady = Unsteady(remote.files._fs, begin=2000, failures=2)
    monkeypatch.setattr(remote.files, "_fs", unsteady)
    remote.files.download("a", tmp_path / "back", {"weights": 4500})
    assert sorted(unsteady.read) == [0, 1000, 2000, 2000, 2000, 3000, 4000]
    assert (tmp_path / "back" / "weights").read_bytes() == (folder / "weights").read_bytes()


def test_the_patience_of_a_stage_is_that_of_its_copies(
    remote: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WAITS_S", ())
    monkeypatch.setattr(patience, "STAGE_WAITS_S", (0.0,) * 5)
    remote.files.upload(folder, "a")
    monkeypatch.setattr(remote.files, "_fs", Unsteady(remote.files._fs, begin=0, failures=5))
    with patience.stage_patience():
        remote.files.download("a", tmp_path / "back", {"weights": 4500})
    assert (tmp_path / "back" / "weights").read_bytes() == (folder / "weights").read_bytes()


def test_a_file_that_was_cut_short_meanwhile_is_an_error(
    remote: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "WAITS_S", ())
    remote.files.upload(folder, "a")
    with pytest.raises(OSError, match="weights was cut short"):
        remote.files.download("a", tmp_path / "back", {"weights": 4600})


def test_a_folder_that_is_not_there_says_so(remote: Store) -> None:
    with pytest.raises(FileNotFoundError):
        remote.files.sizes("nowhere")


def test_no_more_is_read_of_a_file_than_what_is_being_sent(folder: Path) -> None:
    """The memory that an upload takes does not grow where the store is slower than the disk."""
    kept, most, turn = [0], [0], threading.Lock()

    class Slow:
        def write(self, data: bytes) -> None:
            with turn:
                kept[0] += len(data)
                most[0] = max(most[0], kept[0])

        def flush(self) -> None:
            with turn:
                kept[0] = 0

    class Slowly:
        def open_output_stream(self, _: str) -> Any:
            return contextlib.nullcontext(Slow())

    for name in NAMES[1:]:
        (folder / name).unlink()
    parallel_copy.upload(Slowly(), folder, "a", lambda work: work())
    assert most == [1000]
