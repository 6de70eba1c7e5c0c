"""What the controller does about classes of failures other than memory. Stages are made up.

Real ones fail in test_injected_failures.py.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.execution.run_stage import StageTask
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.claims import Claims
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import (
    Clock,
    FakeLauncher,
    controller_of,
    drive,
    failed_stages,
    one_cell,
    resolved,
    store_of,
)

DIVERGED = Failure("TrainingDivergedError", "the loss is nan", FailureKind.DIVERGED)
LOST = Failure("WorkerCrashedError", "ended by SIGKILL", FailureKind.LOST)
HUNG = Failure("HungError", "no step for 1800 s", FailureKind.HUNG)
PREEMPTED = Failure("PreemptedError", "told to go", FailureKind.PREEMPTED)
FULL = Failure("OSError", "No space left on device", FailureKind.DISK_FULL)
MICRO_4 = {"micro_batch": 4, "zero_stage": 2}


class NotingSnapshots(FakeLauncher):
    """Notes at which step each training goes on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.steps: list[int] = []

    def start(self, task: StageTask) -> None:
        if task.spec.kind is StageKind.TRANSFER:
            newest = StoreSnapshots(Store(task.store), task.spec.key).latest()
            self.steps.append(newest.step if newest else 0)
        super().start(task)


def test_a_diverging_stage_begins_anew_at_half_the_rate_and_then_only_its_cell_fails(
    tmp_path: Path,
) -> None:
    launcher = NotingSnapshots(
        slots=1, fail=[(StageKind.TRANSFER, LOST), *[(StageKind.TRANSFER, DIVERGED)] * 2]
    )
    launcher.gains = {StageKind.TRANSFER}
    view = drive(
        controller_of(resolved(tmp_path, gate_l1=1e-3, resources={"max_attempts": 5}), launcher)
    )
    assert [task.lr_scale for task in launcher.tasks(StageKind.TRANSFER)] == [1.0, 1.0, 0.5, 1.0]
    assert launcher.steps == [0, 1, 0, 0], "lost: gone on with; diverged: its snapshots are dropped"
    assert failed_stages(view) == [
        ("transfer", "TrainingDivergedError: the loss is nan, also at 0.5 of the learning rate")
    ]


@pytest.mark.parametrize("failure", [LOST, HUNG, PREEMPTED], ids=lambda failure: failure.kind)
def test_a_stage_that_is_lost_goes_on_as_long_as_it_gains_steps(
    tmp_path: Path, failure: Failure
) -> None:
    grid = one_cell(tmp_path, resources={"max_attempts": 2})
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, failure)] * 7)
    launcher.gains = {StageKind.TRANSFER}
    assert drive(controller_of(grid, launcher)).status is Status.DONE
    assert len(launcher.tasks(StageKind.TRANSFER)) == 8
    assert len({task.attempt for task in launcher.tasks(StageKind.TRANSFER)}) == 8


def test_a_stage_that_is_lost_and_gains_nothing_is_given_up(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, LOST)] * 7)
    view = drive(controller_of(one_cell(tmp_path, resources={"max_attempts": 3}), launcher))
    assert len(launcher.tasks(StageKind.TRANSFER)) == 3
    assert failed_stages(view) == [("transfer", "WorkerCrashedError: ended by SIGKILL")]


@pytest.mark.parametrize("failure", [FULL, HUNG], ids=lambda failure: failure.kind)
def test_what_fails_again_fails_its_cells_and_others_go_on(
    tmp_path: Path, failure: Failure
) -> None:
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, failure)] * 2)
    view = drive(
        controller_of(resolved(tmp_path, gate_l1=1e-3, resources={"max_attempts": 2}), launcher)
    )
    assert failed_stages(view) == [("transfer", failure.line)]
    assert Counter(part.status for part in view.parts) == {Status.DONE: 2, Status.FAILED: 1}


def test_a_store_that_cannot_be_written_fails_stages_and_not_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Claims, "take", full)
    view = drive(controller_of(one_cell(tmp_path), FakeLauncher()))
    assert {reason for _, reason in failed_stages(view)} == {
        "OSError: [Errno 28] No space left on device"
    }


def test_the_record_says_on_what_layout_it_failed(tmp_path: Path) -> None:
    grid, clock = (
        one_cell(tmp_path, resources={"timeout_s": 5, "max_attempts": 1}, engine=MICRO_4),
        Clock(),
    )
    launcher = FakeLauncher(slots=1, holds=True)
    controller = controller_of(grid, launcher, clock)
    for clock.now in (0, 0, 6, 6):
        controller.step()
    (failure,) = store_of(grid).failures.history(launcher.started_keys()[0])
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.layout["engine"]["micro_batch"] == 4
