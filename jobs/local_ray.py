"""One Ray head of our own on this machine, for the demo: started, found again, stopped.

It is found by its temp dir. `ray stop` ends every Ray of the user; this one ends only what runs
under its own temp dir. Knows no grids.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

START_TIMEOUT_S = 120
START_POLL_S = 0.5
REQUEST_TIMEOUT_S = 10
STOP_TIMEOUT_S = 20  # `ray start --block` takes about 4 s to end its children
OBJECT_STORE_BYTES = 200_000_000  # stages pass names through Ray, never tensors
RUNNING = ("PENDING", "RUNNING")


@dataclass(frozen=True)
class RayHead:
    """A running head.

    ``environ`` is the environment for its clients: they need its token and this Python's PATH.
    """

    address: str  # http://127.0.0.1:PORT, of the dashboard and of `ray job submit`
    temp_dir: Path
    environ: Mapping[str, str]

    def request(self, path: str, method: str = "GET") -> Any:
        """Return the decoded JSON answer of the dashboard; OSError when it cannot be reached."""
        headers = {"Authorization": f"Bearer {self.environ['RAY_AUTH_TOKEN']}"}
        request = urllib.request.Request(self.address + path, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
            return json.load(answer)

    def job(self, job_id: str) -> dict[str, Any]:
        """Wait for the job's end; return its ``status``, ``driver_exit_code`` and more."""
        while (info := self.request(f"/api/jobs/{job_id}"))["status"] in RUNNING:
            time.sleep(1)
        return dict(info)

    def stop_job(self, job_id: str) -> None:
        """Send SIGTERM to the job's driver, and give it time to close what it opened.

        No error when there is no such job.
        """
        with suppress(OSError):
            self.request(f"/api/jobs/{job_id}/stop", method="POST")
            self.job(job_id)


@contextmanager
def local_ray(
    temp_dir: Path,
    num_cpus: int,
    keep: bool = False,
    options: Iterable[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[RayHead]:
    """Start a fresh head; stop it at the end, whatever happens, unless ``keep``.

    A left-over one is stopped first. ``temp_dir`` must be short (Ray keeps sockets in it, whose
    paths may not exceed 107 bytes); it is emptied at the start and keeps the logs afterwards.
    ``options`` are more of ``ray start``'s, ``variables`` more of its environment.
    """
    stop(temp_dir)
    if temp_dir.exists():
        shutil.rmtree(temp_dir)
    temp_dir.mkdir(mode=0o700)
    try:
        yield _start(temp_dir, num_cpus, options, variables or {})
    finally:
        if not keep:
            stop(temp_dir)


def stop(temp_dir: Path) -> None:
    """End every process of the Ray that lives in ``temp_dir``. Nothing to do is no error.

    Politely through its head, then by force: all of them are gone when it returns. RuntimeError for
    one that even SIGKILL has not ended.
    """
    running = _processes(temp_dir)
    heads = [process for process in running if f"--temp-dir={temp_dir}" in _arguments(process)]
    for head in heads:
        with suppress(psutil.NoSuchProcess):
            head.terminate()
    _wait(running, STOP_TIMEOUT_S if heads else 0)
    _kill(temp_dir, running)


def _kill(temp_dir: Path, known: Iterable[psutil.Process]) -> None:
    """End the Ray's processes by force: the ``known`` ones and those that a raylet still starts.

    RuntimeError for one that does not end.
    """
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while alive := [one for one in {*known, *_processes(temp_dir)} if _lives(one)]:
        if time.monotonic() > deadline:
            pids = sorted(process.pid for process in alive)
            raise RuntimeError(f"these processes of Ray in {temp_dir} do not end: {pids}")
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        _wait(alive, 1)


def _wait(processes: Iterable[psutil.Process], timeout_s: float) -> None:
    """Wait until all of them have ended, or the time is over."""
    deadline = time.monotonic() + timeout_s
    while any(map(_lives, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)


def _lives(process: psutil.Process) -> bool:
    """Whether a process runs. A zombie has ended; that nobody has asked how is not our concern."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _processes(temp_dir: Path) -> list[psutil.Process]:
    """Return Ray's own processes and all that they started: workers, drivers of jobs.

    Ray's own are known by an option that names the temp dir.
    """
    found = {}
    for process in psutil.process_iter():
        if any(one.startswith("--") and f"={temp_dir}" in one for one in _arguments(process)):
            found[process.pid] = process
    for process in list(found.values()):
        with suppress(psutil.NoSuchProcess):
            found |= {child.pid: child for child in process.children(recursive=True)}
    return list(found.values())


def _arguments(process: psutil.Process) -> list[str]:
    """Return a process's command line; nothing of one that is gone or not ours."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _start(
    temp_dir: Path, num_cpus: int, options: Iterable[str], variables: Mapping[str, str]
) -> RayHead:
    """Start a head and wait until its dashboard answers; RuntimeError with its log if none does."""
    dashboard, agent, client = free_ports(3)
    scripts = _scripts(temp_dir)
    head = RayHead(f"http://127.0.0.1:{dashboard}", temp_dir, _environment(scripts))
    command = [
        *(str(scripts / "python"), "-m", "ray.scripts.scripts"),
        *("start", "--head", "--block", "--disable-usage-stats", f"--temp-dir={temp_dir}"),
        *("--port=0", "--min-worker-port=0", "--max-worker-port=0"),  # 0: any free one
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
        *(f"--num-cpus={num_cpus}", f"--object-store-memory={OBJECT_STORE_BYTES}", *options),
    ]
    log = temp_dir / "head.log"
    # A session of its own: Ctrl-C is for us, who then stop the job before the head.
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**head.environ, **variables},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(head):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text().splitlines()[-15:])
            raise RuntimeError(f"Ray did not start; the end of {log}:\n{tail}")
        time.sleep(START_POLL_S)
    return head


def _scripts(temp_dir: Path) -> Path:
    """Return this environment's bin folder, by another name where its path has blanks.

    Ray starts workers by an unquoted command line.
    """
    scripts = Path(sys.executable).parent
    if not any(character.isspace() for character in str(scripts)):
        return scripts
    (temp_dir / "env").symlink_to(scripts.parent, target_is_directory=True)
    return temp_dir / "env" / scripts.name


def _environment(scripts: Path) -> dict[str, str]:
    """Return the environment of a head and its clients, with no word of other clusters.

    It has a token of its own, because Ray listens on every interface.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = os.pathsep.join([str(scripts), os.environ.get("PATH", os.defpath)])
    return inherited | {
        "PATH": path,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


def _answers(head: RayHead) -> bool:
    """Whether the dashboard can be reached."""
    try:
        head.request("/api/version")
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
