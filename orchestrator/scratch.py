"""Temporary folders that do not outlive their process for long, even where it is killed.

They lie in one folder of ours per user of the machine, under ``TRSP_TMPDIR`` or where the system
has its temporary files. Each is locked by its process (flock(2)), and the kernel lets go of the
lock when that ends, however it does: who begins to work on a machine removes those that nobody
holds. No host name, process number or clock has a part in it, so containers may share the folder.

Also says where this user's other folders of ours lie, and which of them can be trusted.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

VARIABLE = "TRSP_TMPDIR"


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """A new, empty folder, which is gone afterwards.

    ``purpose`` begins its name, for people. Raises OSError where it cannot be made.
    """
    folder, lock = _locked_folder(purpose)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_left_folders() -> tuple[str, ...]:
    """Remove the folders of processes that are dead; return their names.

    As far as that can be done: what belongs to others, or cannot be locked, stays.
    """
    removed = []
    with suppress(OSError):
        for folder in sorted(_root().iterdir()):
            if _remove_if_left(folder):
                removed.append(folder.name)
    return tuple(removed)


def temporary_root() -> Path:
    """Return the folder for temporary files: of the environment variable, else the system's."""
    return Path(os.environ.get(VARIABLE) or tempfile.gettempdir()).expanduser()


def user_folder(purpose: str, root: Path | None = None) -> Path:
    """Return where this user's folder for a purpose is, below the one for temporary files."""
    return (root or temporary_root()) / f"trsp-{purpose}-{os.getuid()}"


def open_private(folder: Path) -> int:
    """Return a descriptor of a folder that this user alone can enter, made where there is none.

    OSError where it cannot be made, is another user's, or can be entered by others.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    found = os.fstat(descriptor)
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(descriptor)
        raise PermissionError(
            f"{folder} can be entered by others, so it is not used; delete it, or name another "
            f"folder by {VARIABLE}"
        )
    return descriptor


def _root() -> Path:
    """Return the folder of all scratch folders of this user."""
    return user_folder("scratch")


def _locked_folder(purpose: str) -> tuple[Path, int]:
    """Make a folder and lock it. Return it, and the descriptor that holds the lock."""
    while True:
        folder = _root() / f"{purpose}-{uuid.uuid4().hex[:12]}"
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        with suppress(FileNotFoundError):  # taken for one that was left, before it was locked
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks: then nobody removes it either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.is_dir():
                return folder, lock
            os.close(lock)


def _remove_if_left(folder: Path) -> bool:
    """Remove a folder unless its process lives; return whether it did."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()
    except OSError:  # somebody holds it
        return False
    finally:
        os.close(lock)
