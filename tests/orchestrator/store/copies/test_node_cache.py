"""The cache of a node: each folder comes once, whole or not at all, within a limit."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.store.copies import entry_folder, node_cache
from orchestrator.store.copies.node_cache import NodeCache
from trsp.errors import InvalidInputError

FILLER = """
import sys, time
from orchestrator.store.copies.node_cache import node_cache

def fetch(folder):
    (folder / "half").write_bytes(b"x" * 50)
    print("half", flush=True)
    sys.stdin.read()

with node_cache().folder("model", lambda: 100, fetch):
    pass
"""


def cache(limit_bytes: int | None = None) -> NodeCache:
    made = node_cache.node_cache()
    assert made is not None
    return made if limit_bytes is None else NodeCache(made._root, limit_bytes)


def writes(text: str, calls: list[str] | None = None) -> Callable[[Path], None]:
    """What brings a folder with one file of this text, and notes that it was called."""

    def fetch(folder: Path) -> None:
        if calls is not None:
            calls.append(text)
        (folder / "weights").write_text(text)

    return fetch


@contextmanager
def entry(of: NodeCache, name: str, text: str, calls: list[str] | None = None) -> Iterator[Path]:
    with of.folder(name, lambda: len(text), writes(text, calls)) as folder:
        assert folder is not None
        yield folder


def names(of: NodeCache) -> set[str]:
    return {path.name for path in of._root.iterdir()}


@contextmanager
def filler() -> Iterator[subprocess.Popen[str]]:
    """A process that has fetched half of the entry ``model`` until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", FILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_folder_is_fetched_once() -> None:
    calls: list[str] = []
    for _ in range(3):
        with entry(cache(), "model", "weights", calls) as folder:
            assert (folder / "weights").read_text() == "weights"
    assert calls == ["weights"]


def test_of_many_that_want_a_folder_at_once_one_fetches_it() -> None:
    calls: list[str] = []

    def fetch(folder: Path) -> None:
        time.sleep(0.2)
        writes("weights", calls)(folder)

    def use(_: int) -> str:
        with cache().folder("model", lambda: 7, fetch) as folder:
            assert folder is not None
            return (folder / "weights").read_text()

    cache()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(use, range(8))) == {"weights"}
    assert calls == ["weights"]


def test_what_a_killed_process_had_fetched_is_not_used_and_goes() -> None:
    of = cache()
    with filler() as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert names(of) == {"model"}, "what this is about"
        with entry(of, "model", "weights") as folder:
            assert [path.name for path in folder.iterdir()] == ["weights"]


def test_who_comes_next_removes_what_dead_processes_left_and_nothing_else() -> None:
    with entry(cache(), "whole", "x"), filler() as living:
        assert names(cache()) == {"whole", "model"}
        living.kill()
        living.wait()
        assert names(cache()) == {"whole"}


def test_who_waits_for_a_process_that_writes_nothing_does_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_cache, "WAIT_S", 0.3)
    with filler(), cache().folder("model", lambda: 7, writes("weights")) as folder:
        assert folder is None


def test_after_a_fetch_that_fails_the_next_one_fetches() -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise OSError("away")

    with pytest.raises(OSError, match="away"), cache().folder("model", lambda: 7, fail):
        pass
    assert names(cache()) == set()
    with entry(cache(), "model", "weights") as folder:
        assert [path.name for path in folder.iterdir()] == ["weights"]


@pytest.mark.parametrize("damage", ["cut", "gone", "more"])
def test_an_entry_that_is_not_as_it_was_is_fetched_again(damage: str) -> None:
    of = cache()  # one that is made later removes it
    with entry(of, "model", "weights") as folder:
        file = folder / "weights"
    if damage == "cut":
        file.write_text("weig")
    elif damage == "gone":
        file.unlink()
    else:
        (file.parent / "stranger").write_text("x")
    with entry(of, "model", "weights") as folder:
        assert [path.name for path in folder.iterdir()] == ["weights"]
        assert file.read_text() == "weights"


def test_a_mark_of_before_does_not_speak_for_what_is_being_fetched() -> None:
    """Downloads make their files as large as they will be, and then fill them."""
    of = cache()
    with entry(of, "model", "weights") as folder:
        file = folder / "weights"
    file.write_text("weig")

    def die(folder: Path) -> None:
        (folder / "weights").write_bytes(bytes(7))
        assert not entry_folder.is_whole(folder.parent), "who is killed here leaves this"
        writes("weights")(folder)

    with of.folder("model", lambda: 7, die) as again:
        assert again == file.parent


def test_an_entry_of_an_earlier_boot_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    with entry(cache(), "model", "weights", calls):
        pass
    (boot := tmp_path / "boot_id").write_text("another")
    monkeypatch.setattr(entry_folder, "_BOOT", boot)
    with entry(cache(), "model", "weights", calls):
        pass
    assert calls == ["weights", "weights"]


def test_what_was_used_last_stays_within_the_limit() -> None:
    small = cache(limit_bytes=20)
    for number, name in enumerate(("a", "b", "a", "c")):
        with entry(small, name, "12345678"):
            pass
        os.utime(small._root / name, (number + 1, number + 1))
    assert names(small) == {"a", "c"}


def test_what_is_in_use_stays_and_what_has_no_room_beside_it_does_without() -> None:
    small = cache(limit_bytes=20)
    with (
        entry(small, "a", "12345678"),
        entry(small, "b", "12345678"),
        small.folder("c", lambda: 8, writes("12345678")) as third,
    ):
        assert third is None
    assert names(small) == {"a", "b"}


def test_what_is_being_fetched_counts_before_it_is_there() -> None:
    small = cache(limit_bytes=120)
    with filler(), small.folder("c", lambda: 30, writes("x" * 30)) as other:
        assert other is None  # 100 are to come


def test_what_is_to_come_is_no_free_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two downloads at once, of which the disk holds one."""
    of, mib = cache(limit_bytes=10**12), 2**20
    space = shutil.disk_usage(of._root)._replace(free=12 * mib)
    monkeypatch.setattr(node_cache.shutil, "disk_usage", lambda path: space)
    found: list[Path | None] = []

    def fetch(folder: Path) -> None:
        (file := folder / "weights").touch()
        os.truncate(file, 8 * mib)  # as a download begins
        with of.folder("other", lambda: 8 * mib, writes("x")) as other:
            found.append(other)

    with of.folder("model", lambda: 8 * mib, fetch) as folder:
        assert folder is not None
    assert found == [None]


def test_a_limit_of_nothing_means_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRSP_CACHE_BYTES", "0")
    assert node_cache.node_cache() is None


@pytest.mark.parametrize("given", ["much", "-1", "inf"])
def test_a_limit_that_is_no_number_of_bytes_says_so(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("TRSP_CACHE_BYTES", given)
    with pytest.raises(InvalidInputError, match=rf"TRSP_CACHE_BYTES is '{given}'.*200e9"):
        node_cache.node_cache()


def test_a_folder_that_others_may_write_to_is_not_trusted() -> None:
    cache()._root.chmod(0o777)
    assert node_cache.node_cache() is None


def test_a_folder_that_leads_elsewhere_is_not_trusted(tmp_path: Path) -> None:
    folder = cache()._root
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    assert node_cache.node_cache() is None


def test_only_its_user_can_read_it() -> None:
    with entry(cache(), "model", "weights") as folder:
        modes = [path.stat().st_mode & 0o777 for path in (cache()._root, folder.parent)]
    assert modes == [0o700, 0o700]
