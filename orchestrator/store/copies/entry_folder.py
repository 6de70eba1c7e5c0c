"""One entry of a node's cache: its lock, its mark, its bytes. Knows no other entries."""

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

FILES = "files"
_MARK = "whole.json"
_RESERVED = "reserved"  # how many bytes it will have
_BOOT = Path("/proc/sys/kernel/random/boot_id")
WAIT_S = 120.0  # for a process that fills an entry and writes nothing meanwhile
_LOOK_S = 0.1
_BLOCK_BYTES = 512  # of stat(2)


def lock_entry(path: Path, how: int, wait_s: float) -> int | None:
    """Lock an entry, made empty where there is none; return what ``release`` takes.

    ``how``: ``fcntl.LOCK_SH`` or ``LOCK_EX``. None where somebody else holds it and nothing in it
    has changed for ``wait_s``. Raises OSError where it cannot be made or locked.
    """
    quiet_since, before = time.monotonic(), -1.0
    while True:
        path.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):  # removed since
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            if _locked(lock, how) and _is_at(path, lock):
                return lock
            os.close(lock)
            if not path.exists():
                continue
        if (changed := _last_change(path)) != before:
            quiet_since, before = time.monotonic(), changed
        if time.monotonic() - quiet_since >= wait_s:
            return None
        time.sleep(_LOOK_S)


def _locked(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, lock: int) -> bool:
    """Whether what was locked is the entry still, and not one that was removed meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), path.stat())
    return False


def _last_change(path: Path) -> float:
    """Return when a file of the entry was written last, in seconds since the epoch."""
    return max((_stat(each).st_mtime for each in _files(path)), default=0.0)


def release(lock: int) -> None:
    """Give a lock back, also where a forked child has a copy of its descriptor."""
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def remove_locked(path: Path) -> None:
    """Remove an entry that this process has locked. Who waits for its lock makes another one.

    Where this process is killed meanwhile, it is not whole.
    """
    gone = path.with_name(f"gone-{uuid.uuid4().hex[:12]}")
    with suppress(OSError):
        (path / _MARK).unlink(missing_ok=True)
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def empty(path: Path) -> None:
    """Remove all that is in an entry, first its mark, and make an empty folder for its files."""
    (path / _MARK).unlink(missing_ok=True)
    for left in path.iterdir():
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
    (path / FILES).mkdir()


def reserve(path: Path, size_bytes: int) -> None:
    """Say how many bytes an entry will have, for those who count before they are there."""
    (path / _RESERVED).write_text(str(size_bytes))


def bytes_of(path: Path) -> int:
    """Return the bytes of an entry's files, or those it has reserved, if more."""
    reserved = 0
    with suppress(OSError, ValueError):
        reserved = int((path / _RESERVED).read_text())
    return max(reserved, sum(_stat(each).st_size for each in _files(path / FILES)))


def bytes_to_come(path: Path) -> int:
    """Return the bytes of an entry that are not on the disk yet, of one that is being filled.

    A download makes its files as large as they will be, and then fills them.
    """
    if is_whole(path):
        return 0
    written = sum(_stat(each).st_blocks * _BLOCK_BYTES for each in _files(path / FILES))
    return max(0, bytes_of(path) - written)


def mark_whole(path: Path) -> None:
    """Say that all files of an entry are there, as they are now."""
    mark = {"boot": _boot(), "bytes": _sizes(path / FILES)}
    draft = path / f".{_MARK}"
    draft.write_text(json.dumps(mark))
    draft.replace(path / _MARK)
    use(path)


def is_whole(path: Path) -> bool:
    """Whether an entry has its mark, and the files are as the mark says.

    Marks of an earlier boot do not count: files may have lost what was on its way to the disk.
    """
    try:
        mark = json.loads((path / _MARK).read_text())
        return bool(mark == {"boot": _boot(), "bytes": _sizes(path / FILES)})
    except (OSError, ValueError):
        return False


def use(path: Path) -> None:
    """Note that an entry is used now: those that are used least go first."""
    with suppress(OSError):
        os.utime(path)


def _sizes(folder: Path) -> dict[str, int]:
    return {
        each.relative_to(folder).as_posix(): each.stat().st_size
        for each in folder.rglob("*")
        if each.is_file()
    }


def _files(path: Path) -> Iterator[Path]:
    """Yield the files below a folder, as far as they can be seen: others may be removing them."""
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names)


def last_use(path: Path) -> float:
    """Return when an entry was used last, in seconds since the epoch; one that is not whole: 0."""
    return _stat(path).st_mtime if is_whole(path) else 0.0


def _stat(path: Path) -> os.stat_result:
    with suppress(OSError):
        return path.stat()
    return os.stat_result((0,) * 10, {"st_blocks": 0})


def _boot() -> str:
    with suppress(OSError):
        return _BOOT.read_text().strip()
    return ""
