"""A cluster behind Ray's own client of jobs: the only module of the folder that imports Ray."""

import logging
import os
import platform
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.ray_backend.submission import tokens
from orchestrator.ray_backend.submission.jobs import (
    MARK,
    STOPPED,
    ConnectionLostError,
    Job,
    JobState,
)
from orchestrator.ray_backend.submission.versions import Versions
from orchestrator.redact import redact
from trsp.errors import InvalidInputError, TrspError, UnreachableError, first_line

_TALKATIVE = (  # about every upload and closed connection
    "ray._private.runtime_env.packaging",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")  # Ray takes these before any argument


class RayCluster:
    """A cluster's jobs, through the dashboard that answers at ``url``."""

    def __init__(self, client: Any, asks_for_token: bool) -> None:
        self._client = client
        self.url = str(client.get_address())
        self.asks_for_token = asks_for_token

    def versions(self) -> Versions:
        """Return what the cluster runs, as far as it says so."""
        with _answers():
            answer = self._client._do_request("GET", "/api/v0/cluster_metadata")
        try:
            known = answer.json()["data"]
            return Versions(str(known.get("rayVersion", "")), str(known.get("pythonVersion", "")))
        except (ValueError, KeyError, AttributeError, TypeError):
            return Versions()

    def submit(self, job: Job) -> None:
        """Upload the job's folder, and start it."""
        environment = {
            "working_dir": str(job.package.folder),
            "env_vars": dict(job.variables),
        }
        try:
            self._client.submit_job(
                entrypoint=job.entrypoint,
                submission_id=job.id,
                runtime_env=environment,
                metadata=dict(job.metadata),
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise UnreachableError(
                f"the cluster at {self.url} did not take the job: {first_line(error)}"
            ) from None

    def running(self, mark: str) -> str | None:
        """Return the id of a job with this mark that is not over; None where there is none."""
        with _answers():
            jobs = self._client.list_jobs()
        for job in jobs:
            if (job.metadata or {}).get(MARK) == mark and not job.status.is_terminal():
                return str(job.submission_id)
        return None

    def state(self, job_id: str) -> JobState:
        """Return how a job stands. TrspError where the cluster does not know it."""
        with _answers(job_id):
            info = self._client.get_job_info(job_id)
        status = str(info.status.value)
        code = {"STOPPED": STOPPED, "SUCCEEDED": 0}.get(status, info.driver_exit_code)
        return JobState(info.status.is_terminal(), code, info.message or "")

    def stop(self, job_id: str) -> None:
        """Ask the job to end; it then closes what it has opened."""
        with _answers(job_id):
            self._client.stop_job(job_id)

    async def log(self, job_id: str) -> AsyncGenerator[str, None]:
        """Yield the job's log from its beginning, piece by piece, to the job's end."""
        with _answers(job_id):
            async for piece in self._client.tail_job_logs(job_id):
                yield piece


def here() -> Versions:
    """Return the versions of this process."""
    import ray

    return Versions(ray.__version__, platform.python_version())


def connect(address: str | None, environ: Mapping[str, str], home: Path) -> RayCluster:
    """Return the cluster at an address, by Ray's rules: None is that of the environment, else one
    that runs on this machine.

    Its token is looked up where it asks for one. InvalidInputError where there is none, or a wrong
    one; UnreachableError where nothing answers.
    """
    token = tokens.find_token(environ, home)
    if token is not None and "://" not in (address or ""):
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray looks for the cluster by its own ways
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    where = address or next(filter(None, map(environ.get, _ADDRESSES)), None)
    asked = os.environ.get("RAY_AUTH_MODE", "").lower() == "token"
    with _address_first(address), _found(where):
        try:
            return RayCluster(JobSubmissionClient(address), asked)
        except AuthenticationError:
            if token is None or asked:
                raise InvalidInputError(tokens.refusal(str(where), token)) from None
        try:
            return RayCluster(JobSubmissionClient(address, headers=token.headers), True)
        except AuthenticationError:
            raise InvalidInputError(tokens.refusal(str(where), token)) from None


@contextmanager
def _address_first(address: str | None) -> Iterator[None]:
    """Let an address that was given count more than those of the environment."""
    hidden = {name: os.environ.pop(name) for name in _ADDRESSES if address and name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def _found(where: str | None) -> Iterator[None]:
    """Say in words that no cluster answers there."""
    try:
        yield
    except TrspError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        if where is None:
            raise UnreachableError(
                "no cluster to submit to: "
                f"{first_line(error).partition(' Please')[0]} Name one by --address "
                "http://HEAD:8265 or RAY_ADDRESS, start one by `ray start --head`, or run the grid "
                "without a cluster by `trsp run`"
            ) from None
        raise UnreachableError(
            f"no Ray cluster answers at {redact(where)}; the address is that of the "
            "dashboard, such as http://HEAD:8265: it must run there, and be reachable from here "
            "(--dashboard-host=0.0.0.0 of `ray start --head`, or `ssh -L 8265:localhost:8265 HEAD`)"
        ) from None


@contextmanager
def _answers(job_id: str = "") -> Iterator[None]:
    """Turn what Ray's client raises into ConnectionLostError, or into words."""
    import aiohttp

    try:
        yield
    except (OSError, aiohttp.ClientError, TimeoutError) as error:
        raise ConnectionLostError(first_line(error)) from None
    except RuntimeError as error:
        if job_id and "status code 404" in str(error):
            raise UnreachableError(
                f"the cluster knows no job {job_id} any more: its head was started anew; submit "
                "the grid again, what the store has is not done again"
            ) from None
        raise ConnectionLostError(first_line(error)) from None
