"""A grid as a job: its command, and the one that runs already."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.ray_backend.submission.jobs import (
    Sent,
    grid_job,
    log_command,
    send,
    stop_command,
)
from orchestrator.ray_backend.submission.package import Package
from tests.orchestrator.ray_backend.submission.fake_cluster import FakeCluster


@pytest.fixture
def package(tmp_path: Path) -> Package:
    (tmp_path / "my grid.yaml").write_text("models: m\n")
    return Package(tmp_path, "my grid.yaml", "my grid")


def test_the_command_is_python_with_the_file_whatever_its_name(package: Package) -> None:
    job = grid_job(package, "run", ["--allow-variable", "A B"], {})
    assert job.entrypoint == "python -m orchestrator run 'my grid.yaml' --allow-variable 'A B'"


def test_a_jobs_id_begins_with_the_grids_name(package: Package) -> None:
    assert grid_job(package, "run", (), {}).id.startswith("my-grid-20")


def test_the_same_submission_is_not_started_twice(package: Package) -> None:
    cluster = FakeCluster()
    first = grid_job(package, "run", (), {"TRSP_HOME": "/a"})
    assert send(cluster, first) == Sent(first.id)
    again = replace(grid_job(package, "run", (), {"TRSP_HOME": "/a"}), id="another")
    assert send(cluster, again) == Sent(first.id, ran_before=True)


@pytest.mark.parametrize("change", ["file", "command", "variable", "option"])
def test_another_file_command_or_environment_is_another_submission(
    package: Package, change: str
) -> None:
    first = grid_job(package, "run", (), {"TRSP_HOME": "/a"})
    if change == "file":
        (package.folder / package.file).write_text("models: n\n")
    command = "doctor" if change == "command" else "run"
    variables = {"TRSP_HOME": "/b" if change == "variable" else "/a"}
    extra = ["--x"] if change == "option" else []
    assert grid_job(package, command, extra, variables).mark != first.mark


def test_a_commit_since_then_is_no_other_submission(package: Package) -> None:
    marks = {grid_job(package, "run", (), {"TRSP_GIT_SHA": sha}).mark for sha in ("a", "b")}
    assert len(marks) == 1


def test_a_jobs_variables_do_not_show(package: Package) -> None:
    job = grid_job(package, "run", (), {"TRSP_KEY": "s3cret"})
    assert "s3cret" not in f"{job!r} {job.entrypoint} {job.metadata}"


@pytest.mark.parametrize("asks", [False, True])
def test_rays_commands_say_token_where_the_cluster_asks_for_one(asks: bool) -> None:
    cluster = FakeCluster(asks_for_token=asks)
    for command in (stop_command(cluster, "job-1"), log_command(cluster, "job-1")):
        assert command.startswith("RAY_AUTH_MODE=token ray job") == asks
        assert command.endswith("--address http://head:8265 job-1")
