"""A grid's job as a cluster is asked for it, and what a cluster can be asked. Knows no Ray."""

import hashlib
import re
import shlex
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.ray_backend.submission.environment import GIT_SHA
from orchestrator.ray_backend.submission.package import Package
from trsp.errors import UnreachableError

STOPPED = 143  # as of a process that SIGTERM has ended
NO_COMMAND = 127  # a shell's exit code where it finds no such command
MARK = "trsp.submission"  # the entry of a job's metadata that says what was submitted


class ConnectionLostError(UnreachableError):
    """The cluster gave no answer; the next request may have one."""


@dataclass(frozen=True)
class Job:
    """What is submitted. ``variables`` may hold secrets."""

    id: str
    entrypoint: str
    package: Package
    metadata: Mapping[str, str]
    variables: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def mark(self) -> str:
        """What is equal for two submissions of the same."""
        return self.metadata[MARK]


@dataclass(frozen=True)
class JobState:
    """How a job stands; ``message``: what Ray says of it, for people."""

    over: bool
    exit_code: int | None = None  # once it is over: 0 done; STOPPED where it was stopped
    message: str = ""


class Cluster(Protocol):
    """What is asked of a cluster. Each raises ConnectionLostError where there is no answer."""

    url: str
    asks_for_token: bool

    def submit(self, job: Job) -> None:
        """Upload the job's folder, and start it."""

    def running(self, mark: str) -> str | None:
        """Return the id of a job with this mark that is not over; None where there is none."""

    def state(self, job_id: str) -> JobState:
        """Return how a job stands. TrspError where the cluster does not know it."""

    def stop(self, job_id: str) -> None:
        """Ask the job to end; it then closes what it has opened."""

    def log(self, job_id: str) -> AsyncGenerator[str, None]:
        """Yield the job's log from its beginning, piece by piece, to the job's end."""


def grid_job(
    package: Package, command: str, extra: Iterable[str], variables: Mapping[str, str]
) -> Job:
    """Return the job that runs a grid file: ``python -m orchestrator run FILE``.

    ``command``: ``run`` or ``doctor``. ``extra``: more of its options.
    """
    entrypoint = shlex.join(["python", "-m", "orchestrator", command, package.file, *extra])
    mark = _digest(entrypoint, package, variables)
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", package.grid).strip("-") or "grid"
    job_id = f"{slug}-{time.strftime('%Y%m%d-%H%M%S')}-{mark[:4]}"
    return Job(job_id, entrypoint, package, {MARK: mark, "trsp.grid": package.grid}, variables)


def _digest(entrypoint: str, package: Package, variables: Mapping[str, str]) -> str:
    """Return what names a submission: its command, grid file and environment. No secret shows.

    The code has no part in it: a grid that runs there runs there, whatever was changed here since.
    """
    digest = hashlib.sha256(entrypoint.encode())
    digest.update((package.folder / package.file).read_bytes())
    for name, value in sorted(variables.items()):
        if name == GIT_SHA:
            continue
        digest.update(f"\0{name}={value}".encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Sent:
    """A submitted job's id, and whether it ran before."""

    job_id: str
    ran_before: bool = False


def send(cluster: Cluster, job: Job) -> Sent:
    """Submit a job, unless the same one runs there; return which runs now."""
    running = cluster.running(job.mark)
    if running is not None:
        return Sent(running, ran_before=True)
    cluster.submit(job)
    return Sent(job.id)


def stop_command(cluster: Cluster, job_id: str) -> str:
    """Return the shell's command that stops a job, as Ray has it."""
    return _ray_command(cluster, "stop", job_id)


def log_command(cluster: Cluster, job_id: str) -> str:
    """Return the shell's command that follows a job's log, as Ray has it."""
    return _ray_command(cluster, "logs --follow", job_id)


def _ray_command(cluster: Cluster, verb: str, job_id: str) -> str:
    mode = "RAY_AUTH_MODE=token " if cluster.asks_for_token else ""
    return f"{mode}ray job {verb} --address {cluster.url} {job_id}"
