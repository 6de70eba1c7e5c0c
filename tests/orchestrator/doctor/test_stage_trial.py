"""A tiny model through all stages, in this process."""

from pathlib import Path

import pytest

from orchestrator.doctor.probes.tiny_model import tiny_files, tiny_grid, write_files
from orchestrator.doctor.stage_trial import StageTrial, run_trial
from orchestrator.execution.launcher import Finished, InProcessLauncher
from orchestrator.execution.stage_task import StageTask
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.store.failures import Failure, FailureKind


class RefusingLauncher(InProcessLauncher):
    """Runs no stage: each fails at once."""

    def start(self, task: StageTask) -> None:
        failure = Failure("OSError", "no room", FailureKind.DISK_FULL)
        self._finished.append(Finished(task.spec.key, failure))


class IdleLauncher(InProcessLauncher):
    """Runs no stage: each ends well without a result."""

    def start(self, task: StageTask) -> None:
        self._finished.append(Finished(task.spec.key, None))


@pytest.fixture
def resolved(tmp_path: Path) -> Resolved:
    write_files(tiny_files(), str(tmp_path))
    return resolve(tiny_grid(str(tmp_path), str(tmp_path / "store")), hardware="cpu")


def _tried(resolved: Resolved, launcher: InProcessLauncher) -> StageTrial:
    trial = StageTrial()
    run_trial(resolved, launcher, 0, trial, lambda: False)
    return trial


@pytest.mark.slow
def test_every_stage_of_the_cell_runs_once(resolved: Resolved) -> None:
    trial = _tried(resolved, InProcessLauncher())
    assert (trial.failed, trial.error) == ("", "")
    assert list(trial.seconds) == ["rank", "transfer", "prune", "evaluate", "measure"]


def test_the_first_failure_ends_it_with_its_message(resolved: Resolved) -> None:
    trial = _tried(resolved, RefusingLauncher())
    assert (trial.failed, trial.error) == ("rank", "OSError: no room")


def test_a_result_that_does_not_come_to_the_store_is_a_failure(resolved: Resolved) -> None:
    trial = _tried(resolved, IdleLauncher())
    assert trial.failed == "rank"
    assert "the store has no result" in trial.error
