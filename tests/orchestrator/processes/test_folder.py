"""A process whose current folder is deleted, and perhaps written anew, goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.processes.folder import present_folder
from tests.orchestrator.processes import functions
from tests.orchestrator.processes.conftest import Caller
from tests.rooms import ROOT


@pytest.fixture
def gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is deleted."""
    folder = tmp_path / "job"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    return folder


def test_a_folder_that_is_there_stays_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert present_folder() == str(tmp_path)


def test_a_folder_that_was_written_anew_is_entered_again(gone: Path) -> None:
    gone.mkdir()
    (gone / "grid.yaml").touch()
    assert present_folder() == str(gone)
    assert Path("grid.yaml").exists()


def test_without_its_folder_a_process_goes_to_that_of_temporary_files(
    gone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(gone.parent))
    assert present_folder() == str(gone.parent)


def test_a_caller_whose_folder_was_written_anew_still_has_its_processes(
    caller: Caller, gone: Path
) -> None:
    gone.mkdir()
    assert caller.call(functions.surroundings, "HOME").result[1] == str(gone)


@pytest.mark.slow
def test_torch_loads_in_a_process_whose_folder_was_deleted(tmp_path: Path) -> None:
    program = (
        "import os; from orchestrator.processes.folder import present_folder\n"
        "os.rmdir(os.getcwd()); present_folder()\n"
        "import torch; torch.ones(2, 2) @ torch.ones(2, 2)\n"
    )
    folder = tmp_path / "job"
    folder.mkdir()
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
