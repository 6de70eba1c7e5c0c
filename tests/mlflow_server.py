"""A real MLflow server in a process of its own. Knows nothing of grids or browsers."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_S = 120
LOG = "mlflow-server.log"  # in the folder that a server is given
# Jobs of MLflow's own (scorers, for example) would cost two more processes.
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@dataclass(frozen=True)
class TrackingServer:
    """A server's address, and the tracking URI of the database that it serves."""

    url: str
    database: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def empty_registry(self) -> None:
        """Delete the registered models that other tests left."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.database, registry_uri=self.database)
        for model in client.search_registered_models():
            client.delete_registered_model(model.name)


@contextlib.contextmanager
def mlflow_server(tracking_uri: str, folder: Path) -> Iterator[str]:
    """The address of an ``mlflow server`` on a database; an http address is that itself.

    ``folder`` gets the server's log, and the artifacts of experiments that the server makes.
    """
    if tracking_uri.startswith(("http://", "https://")):
        yield tracking_uri
        return
    url = f"http://127.0.0.1:{free_port()}"
    process = start_server(tracking_uri, url, folder)
    try:
        _wait_until_healthy(url, process, folder / LOG)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(timeout=30)


def start_server(tracking_uri: str, url: str, folder: Path) -> subprocess.Popen[bytes]:
    """Start a server at ``url`` on a database; return its process, which leads a group of its own.

    It answers some seconds later (``is_healthy``).
    """
    with (folder / LOG).open("a") as output:
        return subprocess.Popen(
            _command(tracking_uri, url, folder),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
            env=os.environ | ENVIRONMENT,
        )


def is_healthy(url: str) -> bool:
    """Whether a server answers at ``url``."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=2):
        return True
    return False


def _command(tracking_uri: str, url: str, folder: Path) -> list[str]:
    host, _, port = url.removeprefix("http://").partition(":")
    options = {
        "--backend-store-uri": tracking_uri,
        "--host": host,
        "--port": port,
        "--workers": "1",
        "--default-artifact-root": (folder / "artifacts").as_uri(),
    }
    command = [sys.executable, "-m", "mlflow", "server"]
    for option, value in options.items():
        command += [option, value]
    return command


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if is_healthy(url):
            return
        time.sleep(0.5)
    raise RuntimeError(f"mlflow server did not start:\n{log.read_text()[-2000:]}")
