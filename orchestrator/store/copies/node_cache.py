"""Folders that come once to a node: a cache with a limit, for all processes of a user.

It lies in one folder of ours per user, under ``TRSP_CACHE_DIR`` or where temporary files lie
(``TRSP_TMPDIR``). An entry is a folder with its ``files`` and, once these are all there, a mark
that says how large each is. Who fills an entry holds its lock (flock(2)) alone, who reads it shares
it. The kernel lets go of the lock when a process ends, however it does: an entry without a mark
that nobody holds is what a dead process left. No host name, process number or clock has a part in
that, so containers may share the folder. ``TRSP_CACHE_BYTES`` limits all entries together; without
it they take at most half of what they and the free disk come to.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.scratch import open_private, user_folder
from orchestrator.store.copies.entry_folder import (
    FILES,
    WAIT_S,
    bytes_of,
    bytes_to_come,
    empty,
    is_whole,
    last_use,
    lock_entry,
    mark_whole,
    release,
    remove_locked,
    reserve,
    use,
)
from trsp.errors import InvalidInputError

FOLDER, LIMIT = "TRSP_CACHE_DIR", "TRSP_CACHE_BYTES"


def node_cache() -> "NodeCache | None":
    """Return the cache of this node; None where there is none to be.

    That is so where the limit is 0, and where its folder cannot be made, locked or trusted: it is
    another user's, or others can enter it. What dead processes left in it is removed.
    """
    limit_bytes = cache_limit_bytes()
    if limit_bytes == 0:
        return None
    named = os.environ.get(FOLDER)
    root = user_folder("cache", Path(named).expanduser() if named else None)
    try:
        os.close(open_private(root))
        cache = NodeCache(root, limit_bytes)
        cache.clean()
    except OSError:
        return None
    return cache


def cache_limit_bytes() -> int | None:
    """Return the limit that the environment sets; None where it sets none.

    InvalidInputError where that is no number of bytes.
    """
    given = os.environ.get(LIMIT)
    if not given:
        return None
    try:
        limit_bytes = int(float(given))
        if limit_bytes < 0:
            raise ValueError
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"{LIMIT} is {given!r}, which is no number of bytes; "
            "give one such as 200e9, or 0 for no cache"
        ) from error
    return limit_bytes


def entry_name(*parts: str) -> str:
    """Return the name of the entry that is known by these parts, of which it shows nothing."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


class NewEntry:
    """An entry that this process fills, and that nobody else sees before it is kept."""

    def __init__(self, cache: "NodeCache", path: Path, lock: int) -> None:
        self._cache, self._path, self._lock = cache, path, lock
        self.folder = path / FILES
        self.kept = False

    def keep(self) -> None:
        """Let others use it, and let it stay, where there is room. Nothing may change then."""
        with suppress(OSError):
            if self._cache.make_room(self._path, bytes_of(self._path), on_disk=True):
                mark_whole(self._path)
                self.kept = True
                fcntl.flock(self._lock, fcntl.LOCK_SH)


class NodeCache:
    """The entries below one folder. Whoever uses one holds it: it is not removed meanwhile."""

    def __init__(self, root: Path, limit_bytes: int | None = None) -> None:
        """``limit_bytes``: of all entries together; None for half of what they could take."""
        self._root, self._limit_bytes = root, limit_bytes

    @contextmanager
    def folder(
        self, name: str, size_bytes: Callable[[], int], fetch: Callable[[Path], None]
    ) -> Iterator[Path | None]:
        """The files of an entry, brought there by ``fetch`` where nobody has yet.

        None where there is no room for ``size_bytes()``, or another process that fetches them has
        written nothing for two minutes. Processes that want one entry wait for one of them.
        """
        path = self._root / name
        lock = self._held(path, size_bytes, fetch)
        try:
            yield None if lock is None else path / FILES
        finally:
            if lock is not None:
                release(lock)

    def _held(
        self, path: Path, size_bytes: Callable[[], int], fetch: Callable[[Path], None]
    ) -> int | None:
        """Return a shared lock on the whole entry; None where it cannot be had."""
        while (lock := _lock(path, fcntl.LOCK_SH, WAIT_S)) is not None:
            if is_whole(path):
                use(path)
                return lock
            release(lock)
            if (lock := _lock(path, fcntl.LOCK_EX, WAIT_S)) is None:
                return None
            try:
                filled = is_whole(path) or self._filled(path, size_bytes(), fetch)
            finally:
                release(lock)
            if not filled:
                return None
        return None

    def _filled(self, path: Path, size_bytes: int, fetch: Callable[[Path], None]) -> bool:
        """Fill an entry that is locked; return whether there was room. It is gone after errors."""
        whole = False
        try:
            empty(path)
            if self.make_room(path, size_bytes):
                fetch(path / FILES)
                mark_whole(path)
                whole = True
        finally:
            if not whole:
                remove_locked(path)
        return whole

    @contextmanager
    def new(self, name: str) -> Iterator[NewEntry | None]:
        """A new entry to be filled, which is gone afterwards unless it was kept.

        None where another process has it.
        """
        path = self._root / name
        lock = _lock(path, fcntl.LOCK_EX, 0.0)
        if lock is None:
            yield None
            return
        entry = NewEntry(self, path, lock)
        try:
            empty(path)
            yield entry
        finally:
            if not entry.kept:
                remove_locked(path)
            release(lock)

    def make_room(self, path: Path, size_bytes: int, on_disk: bool = False) -> bool:
        """Reserve so many bytes for the entry at ``path``; return whether that can be.

        The entries that were used last stay; others go while nobody uses them. ``on_disk``: the
        bytes of this entry are there already.
        """
        with suppress(OSError), self._turn():
            free = shutil.disk_usage(self._root).free + (size_bytes if on_disk else 0)
            others = {each: bytes_of(each) for each in self._entries() if each != path}
            free -= sum(map(bytes_to_come, others))
            taken = sum(others.values())
            limit = (free + taken) // 2 if self._limit_bytes is None else self._limit_bytes
            for other in sorted(others, key=last_use):
                if size_bytes <= min(limit - taken, free):
                    break
                if _remove_unused(other):
                    taken, free = taken - others[other], free + others[other]
            if size_bytes <= min(limit - taken, free):
                reserve(path, size_bytes)
                return True
        return False

    def forget(self, name: str) -> None:
        """Remove an entry, if there is one and nobody uses it."""
        if (path := self._root / name).exists():
            _remove_unused(path)

    def size_bytes(self) -> int:
        """Return the bytes of all entries, with those that they have reserved."""
        return sum(map(bytes_of, self._entries()))

    def clean(self) -> None:
        """Remove what dead processes left, and what cannot be trusted."""
        with self._turn():
            for entry in self._entries():
                if not is_whole(entry):
                    _remove_unused(entry)

    def _entries(self) -> list[Path]:
        return [path for path in self._root.iterdir() if path.is_dir()]

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One process at a time decides what goes."""
        lock = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            release(lock)


def _lock(path: Path, how: int, wait_s: float) -> int | None:
    """Lock an entry; None where it is held too long, or a cache is no longer possible there."""
    with suppress(OSError):
        return lock_entry(path, how, wait_s)
    return None


def _remove_unused(path: Path) -> bool:
    """Remove an entry unless a process holds it; return whether it did."""
    if (lock := _lock(path, fcntl.LOCK_EX, 0.0)) is None:
        return False
    remove_locked(path)
    release(lock)
    return True
