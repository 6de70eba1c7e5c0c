"""What of this environment travels with a job."""

import subprocess
from pathlib import Path

import pytest

from orchestrator.ray_backend.submission.environment import git_sha, job_variables

FILE = "storage: {store: '${TRSP_STORE:-/x}/${USER}/${HOME}'}"


def test_the_variables_that_a_file_names_travel_and_those_of_the_machine_do_not() -> None:
    here = {"TRSP_STORE": "s3://k:s@b", "USER": "me", "HOME": "/home/me", "TRSP_OTHER": "x"}
    travel = job_variables(FILE, (), here)
    assert travel.keys() == {"TRSP_STORE", "RAY_JOB_STOP_WAIT_TIME_S"}


def test_a_variable_travels_that_is_asked_for_or_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRSP_ALLOW_VARIABLES", "BUCKET")
    here = {"BUCKET": "b", "HF_TOKEN": "t", "TRSP_ALLOW_VARIABLES": "BUCKET", "SECRET": "s"}
    travel = job_variables("x: ${BUCKET} ${SECRET}", ["HF_TOKEN"], here)
    assert {"BUCKET", "HF_TOKEN", "TRSP_ALLOW_VARIABLES"} <= travel.keys()
    assert "SECRET" not in travel


def test_a_driver_has_time_to_end_unless_the_environment_says_otherwise() -> None:
    assert job_variables("", (), {})["RAY_JOB_STOP_WAIT_TIME_S"] == "20"
    here = {"RAY_JOB_STOP_WAIT_TIME_S": "90"}
    assert job_variables("", ["RAY_JOB_STOP_WAIT_TIME_S"], here)["RAY_JOB_STOP_WAIT_TIME_S"] == "90"


def test_the_commit_of_a_checkout_is_known_and_of_any_other_folder_not(tmp_path: Path) -> None:
    assert git_sha(tmp_path) == ""
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), (*identity, "commit", "-q", "--allow-empty", "-m", "x")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert len(git_sha(tmp_path)) == 40
