"""Where a fork server is found, and by what name: one per user, code and environment of a node.

Sockets lie in a folder that only this user can enter, under the name that ``server_name`` gives.
"""

import fcntl
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.processes.kernel import namespaces, peer_uid
from orchestrator.processes.surroundings import hides_gpus, lasting
from orchestrator.scratch import open_private, user_folder

LOCK_LIMIT_S = 60.0  # for another process of ours to start the server
_POLL_S = 0.02
_KEPT_S = 24 * 3600.0  # for which what a dead server has left lies about
_INSTALLED = ("site-packages", "dist-packages")  # how their names end


@dataclass(frozen=True)
class Preload:
    """What a fork server imports before it is asked.

    ``code``: folders whose modules these are; another state of their files is another server.
    ``modules`` are imported at first, in this order; ``learned``: what a process had to import
    itself is imported for the next ones, where its name begins with one of these.
    """

    code: tuple[str, ...]
    modules: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()


def server_name(preload: Preload, environment: Mapping[str, str]) -> str:
    """Return the name of the server whose processes are as good as fresh ones of this caller."""
    known = {
        "python": [sys.executable, sys.version],
        "path": [[entry, _modified(entry)] for entry in sys.path],
        "namespaces": namespaces(),
        "environment": sorted(lasting(environment).items()),
        "hides_gpus": hides_gpus(environment),
        "code": [list(_state(folder)) for folder in preload.code],
        "preload": [preload.modules, preload.learned],
    }
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:24]


def _modified(path: str) -> int:
    """Return when a folder of installed packages was changed: one came, or went; of others 0."""
    if not path.endswith(_INSTALLED):
        return 0
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _state(folder: str) -> Iterator[tuple[str, int, int]]:
    """Yield the name, size and date of each module below a folder."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for file in sorted(files):
            if file.endswith(".py"):
                with suppress(OSError):
                    found = os.stat(f"{place}/{file}")
                    yield f"{place}/{file}", found.st_size, found.st_mtime_ns


class Place:
    """The folder of this user's servers. OSError where there can be none.

    Names are used by way of an open descriptor of the folder: the path of a socket may be no longer
    than 107 bytes, and nobody can put another folder in its place meanwhile.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or user_folder("processes")
        self._descriptor = open_private(self.folder)

    def close(self) -> None:
        os.close(self._descriptor)

    def path(self, name: str) -> str:
        """Return a path of a file of the folder that works in this process."""
        return f"/proc/self/fd/{self._descriptor}/{name}"

    def connect(self, name: str) -> socket.socket | None:
        """Connect to a server; None where there is none of this name."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self.path(name))
            if peer_uid(connection) != os.getuid():
                raise PermissionError(f"{self.folder}/{name} is another user's")
            return connection
        except (FileNotFoundError, ConnectionError):
            connection.close()
            return None
        except BaseException:
            connection.close()
            raise

    def listen(self, name: str) -> socket.socket:
        """Return the socket of a new server of this name, in place of what was left of another."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.remove(name)
            listener.bind(self.path(name))
            listener.listen(socket.SOMAXCONN)
        except BaseException:
            listener.close()
            raise
        return listener

    def remove(self, *names: str) -> None:
        """Delete files of the folder, as far as they are there."""
        for name in names:
            with suppress(OSError):
                os.unlink(name, dir_fd=self._descriptor)

    def sweep(self) -> None:
        """Delete what servers have left that were killed long ago."""
        long_ago = time.time() - _KEPT_S
        with suppress(OSError):
            found = [entry for entry in self.folder.iterdir() if entry.lstat().st_mtime < long_ago]
            for name in {entry.name.partition(".")[0] for entry in found}:
                if (connection := self.connect(name)) is None:
                    self.remove(*(entry.name for entry in found if entry.name.startswith(name)))
                else:
                    connection.close()

    @contextmanager
    def locked(self, name: str, limit_s: float = LOCK_LIMIT_S) -> Iterator[None]:
        """Be the only one to start, or to end, the server of this name. TimeoutError: one is."""
        lock = os.open(f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=self._descriptor)
        try:
            _lock(lock, time.monotonic() + limit_s, name)
            yield
        finally:
            os.close(lock)

    def unsafe(self, name: str) -> frozenset[str]:
        """Return the modules that a server of this name has found to be unfit to be preloaded."""
        try:
            with open(self.path(f"{name}.unsafe"), encoding="utf-8") as file:
                return frozenset(file.read().split())
        except OSError:
            return frozenset()

    def add_unsafe(self, name: str, modules: Iterable[str]) -> None:
        """Keep for the next server of this name that these modules are unfit."""
        with suppress(OSError), open(self.path(f"{name}.unsafe"), "a", encoding="utf-8") as file:
            file.write("".join(f"{module}\n" for module in modules))


def _lock(lock: int, deadline: float, name: str) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server {name} is being started for too long") from None
            time.sleep(_POLL_S)
