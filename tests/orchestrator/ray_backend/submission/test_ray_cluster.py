"""Ray's client of jobs: what it raises, in words."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.ray_backend.submission.jobs import ConnectionLostError, Job, JobState
from orchestrator.ray_backend.submission.package import Package
from orchestrator.ray_backend.submission.ray_cluster import RayCluster, connect
from orchestrator.ray_backend.submission.versions import Versions
from trsp.errors import UnreachableError

JOB = Job("job-1", "python -m orchestrator run g.yaml", Package(Path("/x"), "g.yaml", "g"), {})


def cluster(**answers: Callable[..., Any]) -> RayCluster:
    """A cluster whose client has these methods."""
    client = SimpleNamespace(get_address=lambda: "http://head:8265", **answers)
    return RayCluster(client, asks_for_token=False)


def raising(error: Exception) -> Callable[..., Any]:
    def method(*_: object, **__: object) -> None:
        raise error

    return method


def info(status: str, exit_code: int | None = None, over: bool = True) -> Callable[[str], Any]:
    named = SimpleNamespace(value=status, is_terminal=lambda: over)
    return lambda _: SimpleNamespace(status=named, driver_exit_code=exit_code, message="said")


@pytest.mark.parametrize(
    ("status", "exit_code", "over", "state"),
    [
        ("RUNNING", None, False, JobState(False, None, "said")),
        ("SUCCEEDED", 0, True, JobState(True, 0, "said")),
        ("FAILED", 2, True, JobState(True, 2, "said")),
        ("FAILED", None, True, JobState(True, None, "said")),
        ("STOPPED", None, True, JobState(True, 143, "said")),
    ],
)
def test_a_job_is_over_with_an_exit_code(
    status: str, exit_code: int | None, over: bool, state: JobState
) -> None:
    assert cluster(get_job_info=info(status, exit_code, over)).state("job-1") == state


def test_a_job_that_a_new_head_knows_nothing_of_is_to_be_submitted_again() -> None:
    gone = raising(RuntimeError("Request failed with status code 404: Job job-1 does not exist."))
    with pytest.raises(UnreachableError, match="submit the grid again") as told:
        cluster(get_job_info=gone).state("job-1")
    assert not isinstance(told.value, ConnectionLostError)


@pytest.mark.parametrize(
    "error", [ConnectionResetError("reset"), RuntimeError("Request failed with status code 500: x")]
)
def test_what_may_pass_is_a_lost_connection(error: Exception) -> None:
    with pytest.raises(ConnectionLostError):
        cluster(get_job_info=raising(error)).state("job-1")


def test_a_job_that_is_not_taken_says_why() -> None:
    with pytest.raises(UnreachableError, match="did not take the job: package too large"):
        cluster(submit_job=raising(ValueError("package too large"))).submit(JOB)


@pytest.mark.parametrize(
    ("answer", "versions"),
    [
        (
            {"data": {"rayVersion": "2.60.0", "pythonVersion": "3.11.2"}},
            Versions("2.60.0", "3.11.2"),
        ),
        ({"data": {}}, Versions()),
        ({}, Versions()),
        ([], Versions()),
    ],
)
def test_a_cluster_that_says_nothing_of_its_versions_is_taken_as_it_is(
    answer: Any, versions: Versions
) -> None:
    replied = SimpleNamespace(json=lambda: answer)
    assert cluster(_do_request=lambda *_: replied).versions() == versions


@pytest.fixture
def refusing() -> Iterator[str]:
    """An address at which nobody answers."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_an_address_that_nobody_answers_at_is_told_with_what_an_address_is(refusing: str) -> None:
    with pytest.raises(UnreachableError, match=rf"at {refusing}; .* such as http://HEAD:8265"):
        connect(refusing, {}, Path("/nowhere"))


def test_an_address_that_is_given_counts_more_than_the_environments(
    refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://another:8265")
    with pytest.raises(UnreachableError, match=refusing):
        connect(refusing, {"RAY_ADDRESS": "http://another:8265"}, Path("/nowhere"))
