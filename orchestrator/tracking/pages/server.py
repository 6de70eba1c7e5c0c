"""MLflow's server on a database, for as long as somebody looks at its pages."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.redact import redact
from orchestrator.scratch import scratch_folder
from orchestrator.tracking.connection import artifact_root, sqlite_path
from orchestrator.tracking.pages.links import DEFAULT_UI_URL
from trsp.errors import InvalidInputError, TrackingError

HOST = "127.0.0.1"
START_S = 90.0
_POLL_S = 0.2
_END_S = 10.0
_SHOWN_LINES = 8
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def require_database(uri: str) -> None:
    """Raise InvalidInputError unless a server can be started on what a tracking URI names."""
    if not uri.startswith(_DATABASES):
        raise InvalidInputError(
            f"{redact(uri)} is no database that MLflow's pages can be shown of; known are "
            f"{', '.join(f'{name}://' for name in _DATABASES)}, and the http:// of a server"
        )
    path = sqlite_path(uri)
    if path is not None and not path.exists():
        raise InvalidInputError(
            f"there is no {path} here yet: `trsp run FILE` makes it as it starts; a grid that ran "
            "with another tracking.uri or TRSP_HOME is shown by `trsp ui FILE` or --uri, one that "
            "ran on another machine there, or by the server that its tracking.uri names"
        )


@contextmanager
def served(uri: str, port: int | None) -> Iterator[str]:
    """The address of MLflow's server on a database, which answers, and ends with the context.

    ``port``: default: that of the printed links where it is free, else any. InvalidInputError for
    one that is taken; TrackingError with the server's last lines where it does not come up.
    """
    url = f"http://{HOST}:{_port(port)}"
    with scratch_folder("mlflow-pages") as folder:
        log = folder / "server.log"
        process = _start(uri, url, log)
        try:
            _wait(process, url, log)
            yield url
        finally:
            _end(process)


def _port(asked: int | None) -> int:
    """Return the port to serve at."""
    usual = int(DEFAULT_UI_URL.rpartition(":")[2])
    if _is_free(asked or usual):
        return asked or usual
    if asked:
        raise InvalidInputError(
            f"port {asked} of this machine is taken; leave --port out to have a free one chosen"
        )
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _start(uri: str, url: str, log: Path) -> subprocess.Popen[bytes]:
    """Start the server; its process leads a group. Other users' process lists show no password."""
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--host", HOST, "--port", url.rpartition(":")[2]),
    ]
    environment = {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # would be two more processes
    }
    if root := artifact_root(uri):
        environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = root
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=log.parent,
            env=os.environ | environment,
        )


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2):
            return
        time.sleep(_POLL_S)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LINES:]
    raise TrackingError("MLflow's server did not start; it said:\n" + redact("\n".join(lines)))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers; by force where they take too long."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_END_S)
            return
