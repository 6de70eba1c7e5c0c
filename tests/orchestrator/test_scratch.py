"""Temporary folders: gone when their process is done, and removed by others when it was killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.scratch import open_private, remove_left_folders, scratch_folder

HOLDER = (
    "import sys, time\n"
    "from orchestrator.scratch import scratch_folder\n"
    "with scratch_folder('download') as folder:\n"
    "    (folder / 'weights').write_bytes(b'x' * 100)\n"
    "    print(folder, flush=True)\n"
    "    sys.stdin.read()\n"
)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRSP_TMPDIR", str(tmp_path))
    return tmp_path / f"trsp-scratch-{os.getuid()}"


@contextmanager
def holder() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that holds a folder until its input ends, and that folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def test_a_folder_is_gone_when_its_work_is_done_or_fails(root: Path) -> None:
    with scratch_folder("download") as folder:
        (folder / "a").write_text("x")
        assert folder.parent == root
    with pytest.raises(KeyError), scratch_folder("download"):
        raise KeyError
    assert list(root.iterdir()) == []


def test_a_folder_of_a_killed_process_is_removed_and_others_are_not(root: Path) -> None:
    with holder() as (killed, left), holder() as (_, held), scratch_folder("mine") as mine:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert (left / "weights").is_file(), "what the issue is about"
        assert remove_left_folders() == (left.name,)
        assert {*root.iterdir()} == {held, mine}
        assert (held / "weights").is_file()


def test_only_its_user_can_read_it(root: Path) -> None:
    with scratch_folder("download") as folder:
        assert [path.stat().st_mode & 0o777 for path in (root, folder)] == [0o700, 0o700]


@pytest.mark.parametrize("mode", [0o750, 0o777])
def test_a_folder_that_others_can_enter_is_not_private(tmp_path: Path, mode: int) -> None:
    (folder := tmp_path / "ours").mkdir()
    folder.chmod(mode)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PermissionError, match=r"ours can be entered by others.*TRSP_TMPDIR"):
        open_private(folder)
    assert len(os.listdir("/proc/self/fd")) == before, "nothing is left open"


def test_a_link_to_a_folder_is_not_private(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(OSError, match="link"):
        open_private(tmp_path / "link")


def test_where_none_ever_was_there_is_nothing_to_remove() -> None:
    assert remove_left_folders() == ()


def test_a_folder_that_was_removed_before_it_was_locked_is_made_anew(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, removed = os.open, []

    def open_late(path: Path, *args: int) -> int:
        if not removed:
            removed.append(path.name)
            path.rmdir()
        return opened(path, *args)

    monkeypatch.setattr("orchestrator.scratch.os.open", open_late)
    with scratch_folder("download") as folder:
        assert folder.is_dir()
        assert folder.name not in removed
