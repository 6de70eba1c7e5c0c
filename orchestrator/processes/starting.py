"""Gets a process for a call: from the fork server, which is started where there is none.

Where that cannot be, a plain one is started.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from orchestrator.processes.kernel import memory_kills, was_killed_for_memory
from orchestrator.processes.place import Place, Preload, server_name
from orchestrator.processes.wire import Closed, Wire

IDLE_S = 120.0  # for which a server waits for another call
START_LIMIT_S = 60.0  # for a server to listen; it imports afterwards
END_LIMIT_S = 30.0  # for a process to be gone after its answer
_SERVER = (
    "import json, sys; c = json.load(sys.stdin); sys.path[:] = c.pop('path'); "
    "from orchestrator.processes.server import main; main(c)"
)
_PLAIN = (
    "import json, os, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from orchestrator.processes.plain import main; "
    "os._exit(main(int(sys.argv[1]), int(sys.argv[2])))"
)


class Process(Protocol):
    """A process that was made for calls."""

    wire: Wire

    def end(self, closed: Closed) -> Closed:
        """Return how it ended, as fully as it is known; ``closed`` is what its wire has said."""

    def close(self) -> None:
        """Let go of it, by which it ends at once if it has not."""


class ForkedProcess:
    """A child of the fork server, which ends it where our end of the connection is closed."""

    def __init__(self, connection: socket.socket) -> None:
        self.wire = Wire(connection)

    def end(self, closed: Closed) -> Closed:
        return closed

    def close(self) -> None:
        self.wire.connection.close()


class PlainProcess:
    """A process of our own."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it. OSError: it cannot be."""
        self._memory_kills = memory_kills()
        ours, its = socket.socketpair()
        with its:
            number = its.fileno()
            command = [sys.executable, "-c", _PLAIN, str(number), str(os.getpid())]
            self._process = subprocess.Popen(
                [*command, json.dumps(sys.path)],
                env=dict(environment),
                pass_fds=(number,),
                stdin=subprocess.DEVNULL,
            )
        self.wire = Wire(ours)

    def end(self, closed: Closed) -> Closed:
        with suppress(subprocess.TimeoutExpired):
            status = self._process.wait(END_LIMIT_S)
            return Closed(status, was_killed_for_memory(status, self._memory_kills))
        return closed

    def close(self) -> None:
        self.wire.connection.close()
        self._process.kill()
        self._process.wait()


def forked(preload: Preload, environment: Mapping[str, str]) -> ForkedProcess:
    """Return a child of the fork server for this code and environment.

    OSError: there is none, and none can be started.
    """
    if sys.platform != "linux":
        raise OSError("fork servers are for Linux")
    place, name = Place(), server_name(preload, environment)
    try:
        connection = place.connect(name) or _start(place, name, preload, environment)
    finally:
        place.close()
    return ForkedProcess(connection)


def _start(
    place: Place, name: str, preload: Preload, environment: Mapping[str, str]
) -> socket.socket:
    """Start the server, unless somebody has done so by now, and connect to it."""
    with place.locked(name):
        if connection := place.connect(name):
            return connection
        configuration = {
            "path": [os.path.abspath(entry) for entry in sys.path],  # it leaves this folder
            "folder": str(place.folder),
            "name": name,
            "modules": preload.modules,
            "learned": preload.learned,
            "code": preload.code,
            "idle_s": IDLE_S,
        }
        place.sweep()
        with open(place.path(f"{name}.log"), "wb") as log:
            _run(configuration, environment, log)
        if connection := place.connect(name):
            return connection
    raise OSError(f"the fork server did not start: {place.folder}/{name}.log says why")


def _run(configuration: Mapping[str, Any], environment: Mapping[str, str], log: Any) -> None:
    """Start a server. It listens when this returns; OSError where it does not."""
    started = subprocess.Popen(
        [sys.executable, "-c", _SERVER, "trsp-fork-server"],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,
        text=True,
    )
    try:
        started.communicate(json.dumps(configuration), START_LIMIT_S)
    except subprocess.TimeoutExpired:
        started.kill()
        started.communicate()
        raise TimeoutError("the fork server did not listen in time") from None


def wait_for_end(process: Process) -> Closed:
    """Return how a process ended that has answered its last call; end it where it does not."""
    deadline = time.monotonic() + END_LIMIT_S
    while (left := deadline - time.monotonic()) > 0:
        heard = process.wire.receive(left)
        if isinstance(heard, Closed):
            return process.end(heard)
    return Closed()
