"""What the drivers of a trial need and may be deprived of: Ray, an S3 store, MLflow.

All of it is started here, by this process, and ends with it.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from orchestrator.stages.stage_specs import StageKind
from tests import s3_server
from tests.forwarder import Forwarder
from tests.mlflow_server import free_port, is_healthy, start_server
from tests.rooms import ROOT
from tests.tiny import save_tiny, tiny_text

NODES = 3  # with the head, a CPU each
# Ray notices within 6 s, not 14 s, that a node is gone; a busy machine answers within that time.
HEALTH_CHECK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 6,
}
NODE = {"num_cpus": 1, "object_store_memory": 10**8}
START_S = 120


class Tracking:
    """An MLflow server on a database in a folder; it can be killed, and started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.database = f"sqlite:///{folder}/mlflow.db"
        self._folder = folder
        self._process: Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server; it answers some seconds later."""
        self._process = start_server(self.database, self.url, self._folder)

    def is_there(self) -> bool:
        """Whether it answers."""
        return is_healthy(self.url)

    def kill(self) -> None:
        """End the server at once, with its workers."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=30)


class Nodes:
    """A Ray cluster of nodes on this machine; those beside the head can be lost and replaced."""

    def __init__(self) -> None:
        head = NODE | {
            "include_dashboard": False,
            "include_log_monitor": False,
            "no_monitor": True,
            "_system_config": HEALTH_CHECK,
        }
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(NODES - 1):
            self.add()

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self) -> bool:
        """Add a node; return whether it came."""
        try:
            self._cluster.add_node(**NODE)
        except (TimeoutError, OSError, RuntimeError) as error:  # a machine that is very busy
            print(f"a node did not come: {error}", flush=True)
            return False
        return True

    def lose(self, rng: random.Random) -> bool:
        """Kill the raylet of a node that is not the head; return whether there was one."""
        nodes = sorted(self._cluster.worker_nodes, key=lambda node: str(node.node_id))
        if not nodes:
            return False
        self._cluster.remove_node(rng.choice(nodes), allow_graceful=False)
        return True

    def shutdown(self) -> None:
        self._cluster.shutdown()


@dataclass(frozen=True)
class World:
    """Everything that the drivers of all trials share. ``folder`` is made for it alone."""

    folder: Path
    model: Path
    text: Path
    nodes: Nodes
    s3: Forwarder  # what stands between them and the S3 server
    s3_port: int  # the server's own
    s3_log: Path  # a line per request
    bucket: str
    tracking: Tracking

    @property
    def temporary(self) -> Path:
        """The folder of temporary files, of every process."""
        return self.folder / "tmp"

    def store(self, name: str, *, directly: bool = False) -> str:
        """The address of a store; ``directly``: as it is reached while the forwarder refuses."""
        port = self.s3_port if directly else self.s3.port
        return f"s3://{self.bucket}/{name}?{s3_server.options(port)}"


@contextmanager
def started(folder: Path) -> Iterator[World]:
    """Start everything in a new folder, whose path is to be short: sockets lie in it."""
    _set_environment(folder)
    tracking = Tracking(folder / "tracking")
    tracking.start()
    log = folder / "s3.log"
    with s3_server.s3_server(log) as port:
        nodes = Nodes()
        try:
            wait_until(tracking.is_there)
            model = save_tiny("llama", folder / "model")
            text = tiny_text(folder / "text")
            bucket = s3_server.new_bucket(port)
            yield World(folder, model, text, nodes, Forwarder(port), port, log, bucket, tracking)
        finally:
            tracking.kill()
            nodes.shutdown()


def _set_environment(folder: Path) -> None:
    """Let all processes that we start keep their files in the folder, and find this code."""
    (folder / "tmp").mkdir(parents=True)
    os.environ.update(
        TMPDIR=str(folder / "tmp"),
        RAY_TMPDIR=str(folder / "ray"),
        RAY_AUTH_MODE="disabled",
        HF_HUB_OFFLINE="1",
        HF_HOME=str(folder / "huggingface"),
        TRSP_HOME=str(folder / "home"),
        TRSP_LOCK_DIR=str(folder / "locks"),
        OMP_NUM_THREADS="1",
        # Without compiled modules each of many processes would compile torch anew.
        PYTHONPYCACHEPREFIX=str(Path.home() / ".cache" / "trsp-tests" / "bytecode"),
        TOKENIZERS_PARALLELISM="false",
        PYTHONPATH=str(ROOT),
        **s3_server.CREDENTIALS,
    )
    for name in ("RAY_ADDRESS", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(name, None)


def wait_until(condition: Any, limit_s: float = START_S) -> None:
    """Wait until the condition is true. AssertionError where it does not come to that."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not so within {limit_s} s: {condition}"
        time.sleep(0.2)


def stage_processes() -> list[psutil.Process]:
    """The workers of our nodes, each with a stage, their stages' own processes, and fork servers.

    Those that are nobody's child are known by our home folder, which nobody else has.
    """
    names = tuple(f"ray::{kind}-" for kind in StageKind)
    own = (*(f"{kind}-" for kind in StageKind), "trsp-fork-serve")
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "".join(process.cmdline()[:1]).startswith(names):
                found.append(process)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if (
                process.name().startswith(own)
                and process.environ().get("HOME") == os.environ["HOME"]
            ):
                found.append(process)
    return found


def remove(folder: Path) -> None:
    """Delete the folder of a world that has ended."""
    shutil.rmtree(folder, ignore_errors=True)
