"""Fork servers in a folder of the test's own, which end with it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.processes.fresh import Processes
from orchestrator.processes.place import Preload
from orchestrator.processes.request import Call, Ended
from tests.orchestrator.processes import functions

LIMIT_S = 30.0
FORKED, PLAIN = "trsp-fork-server", "orchestrator.processes.plain"


class Caller:
    """Calls functions of the tests in processes that come from a server of the test's own."""

    def __init__(self, preload: Preload) -> None:
        self.preload = preload
        self.processes = Processes(preload)
        self.told: list[Any] = []

    def kind(self) -> str:
        """Return by what a process is started now: a server, or plainly."""
        return PLAIN if self.call(functions.parent).result == os.getpid() else FORKED

    def call(
        self,
        function: Callable[..., Any],
        payload: Any = None,
        leaving: Callable[[], bool] = lambda: False,
        **changes: Any,
    ) -> Ended:
        fields = {"environment": dict(os.environ), "title": "test", **changes}
        call = Call(functions.HERE + function.__name__, payload, **fields)
        return self.processes.run(call, self.told.append, leaving)

    def server(self) -> psutil.Process:
        """Return the server, which is started if need be."""
        return psutil.Process(self.call(functions.parent).result)


def servers_in(folder: Path) -> list[psutil.Process]:
    """Return the servers whose log lies in this folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if os.readlink(f"/proc/{process.pid}/fd/2").startswith(str(folder)):
                found.append(process)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], Any]) -> Any:
    """Wait for the condition's first true answer, and return it."""
    deadline = time.monotonic() + LIMIT_S
    while not (answer := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return answer


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, and so for servers; they end with the test."""
    monkeypatch.setenv("TRSP_TMPDIR", str(tmp_path / "tmp"))
    yield tmp_path / "tmp"
    for process in servers_in(tmp_path):
        with suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder of modules."""
    path = tmp_path / "code"
    path.mkdir()
    return path


@pytest.fixture
def caller(folder: Path, code: Path) -> Iterator[Caller]:
    made = Caller(Preload((str(code),)))
    yield made
    made.processes.close()
