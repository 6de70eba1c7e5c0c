"""What the controller does about each class of failure, and about room. Stages are made up; real ones: test_injected.py."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.execution.run_stage import StageTask
from orchestrator.layouts.capacity import Capacity
from orchestrator.report.live import part_stage
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.claims import Claims
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator.fake_launcher import Clock, FakeLauncher, controller_of, drive, resolved

OUT_OF_MEMORY = Failure("OutOfMemoryError", "2 GiB wanted", FailureKind.OUT_OF_MEMORY)
DIVERGED = Failure("TrainingDivergedError", "the loss is nan", FailureKind.DIVERGED)
LOST = Failure("WorkerCrashedError", "ended by SIGKILL", FailureKind.LOST)
HUNG = Failure("HungError", "no step for 1800 s", FailureKind.HUNG)
PREEMPTED = Failure("PreemptedError", "told to go", FailureKind.PREEMPTED)
FULL = Failure("OSError", "No space left on device", FailureKind.DISK_FULL)

MICRO_4 = {"micro_batch": 4, "zero_stage": 2}


def one_cell(folder: Path, **changes: object) -> Resolved:
    return resolved(folder, **({"ratios": [0.2], "gate_l1": 1e-3} | changes))


def tasks(launcher: FakeLauncher, kind: StageKind) -> list[StageTask]:
    return [task for task in launcher.started if task.spec.kind is kind]


def rungs(launcher: FakeLauncher, kind: StageKind) -> list[tuple[int, bool]]:
    engines = [task.layout.engine for task in tasks(launcher, kind)]
    return [(engine.micro_batch, engine.activation_checkpointing) for engine in engines]


def failed(view: GridView) -> list[tuple[str, str]]:
    return [(part_stage(part), part.reason) for part in view.parts if part.status is Status.FAILED]


# --- memory -------------------------------------------------------------------------------------------------------------

SETTINGS = {"name": "drift", "blocks_per_step": 4}


def test_out_of_memory_climbs_the_ladder_and_is_not_counted(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)] * 3)
    asked = one_cell(tmp_path, engine=MICRO_4, transfer=SETTINGS, resources={"max_attempts": 1})
    assert drive(controller_of(asked, launcher)).status is Status.DONE
    assert rungs(launcher, StageKind.TRANSFER) == [(4, False), (2, False), (1, False), (1, True)]


def test_the_end_of_the_ladder_is_counted_and_then_only_that_cell_fails(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)] * 3)
    asked = resolved(tmp_path, gate_l1=1e-3, resources={"max_attempts": 2}, transfer=SETTINGS)
    view = drive(controller_of(asked, launcher))
    assert rungs(launcher, StageKind.TRANSFER)[:3] == [(1, False), (1, True), (1, True)]
    assert failed(view) == [("transfer", "OutOfMemoryError: 2 GiB wanted")]


def test_what_was_learned_is_used_for_the_next_cells_and_by_the_next_driver(tmp_path: Path) -> None:
    changes = {"engine": MICRO_4, "transfer": SETTINGS, "gate_l1": 1e-3}
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)] * 2)
    drive(controller_of(resolved(tmp_path, **changes), launcher))
    assert rungs(launcher, StageKind.TRANSFER) == [
        (4, False),
        (2, False),
        (1, False),
        (1, False),
    ], "the second cell's is the last"
    assert rungs(launcher, StageKind.RANKING) == [(4, False)], "a ranking needs something else"
    again = FakeLauncher(slots=1)
    drive(controller_of(resolved(tmp_path, **changes | {"drift": 1e-2}), again))
    assert set(rungs(again, StageKind.TRANSFER)) == {(1, False)}


def test_other_settings_or_other_hardware_begin_afresh(tmp_path: Path) -> None:
    changes = {"engine": MICRO_4, "transfer": SETTINGS, "gate_l1": 1e-3, "ratios": [0.2]}
    drive(
        controller_of(
            resolved(tmp_path, **changes),
            FakeLauncher(fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)] * 2),
        )
    )
    other = FakeLauncher(slots=1)
    drive(
        controller_of(
            resolved(tmp_path, **changes | {"drift": 1e-2, "engine": {"micro_batch": 3}}), other
        )
    )
    assert rungs(other, StageKind.TRANSFER) == [(3, False)]
    asked = resolved(tmp_path, **changes | {"drift": 2e-2})
    other = FakeLauncher(slots=1)
    drive(controller_of(replace(asked, study=replace(asked.study, hardware="H100")), other))
    assert rungs(other, StageKind.TRANSFER) == [(4, False)]


def test_two_that_fail_side_by_side_climb_one_rung(tmp_path: Path) -> None:
    """Both began on the first rung; the second to fail takes the rung that the first has come to."""
    asked = resolved(
        tmp_path, engine=MICRO_4, transfer=SETTINGS, gate_l1=1e-3, drift=[1e-3, 1e-2], ratios=[0.2]
    )
    launcher = FakeLauncher(slots=4, fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)] * 2)
    drive(controller_of(asked, launcher))
    assert rungs(launcher, StageKind.TRANSFER) == [(4, False), (4, False), (2, False), (2, False)]


# --- divergence, loss, a full disk ----------------------------------------------------------------------------------------


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
    assert [task.lr_scale for task in tasks(launcher, StageKind.TRANSFER)] == [1.0, 1.0, 0.5, 1.0]
    assert launcher.steps == [0, 1, 0, 0], "lost: gone on with; diverged: its snapshots are dropped"
    assert failed(view) == [
        ("transfer", "TrainingDivergedError: the loss is nan, also at 0.5 of the learning rate")
    ]


@pytest.mark.parametrize("failure", [LOST, HUNG, PREEMPTED], ids=lambda failure: failure.kind)
def test_a_stage_that_is_lost_goes_on_as_long_as_it_gains_steps(
    tmp_path: Path, failure: Failure
) -> None:
    asked = one_cell(tmp_path, resources={"max_attempts": 2})
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, failure)] * 7)
    launcher.gains = {StageKind.TRANSFER}
    assert drive(controller_of(asked, launcher)).status is Status.DONE
    assert len(tasks(launcher, StageKind.TRANSFER)) == 8
    assert len({task.attempt for task in tasks(launcher, StageKind.TRANSFER)}) == 8


def test_a_stage_that_is_lost_and_gains_nothing_is_given_up(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, LOST)] * 7)
    view = drive(controller_of(one_cell(tmp_path, resources={"max_attempts": 3}), launcher))
    assert len(tasks(launcher, StageKind.TRANSFER)) == 3
    assert failed(view) == [("transfer", "WorkerCrashedError: ended by SIGKILL")]


@pytest.mark.parametrize("failure", [FULL, HUNG], ids=lambda failure: failure.kind)
def test_what_fails_again_fails_its_cells_and_others_go_on(
    tmp_path: Path, failure: Failure
) -> None:
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, failure)] * 2)
    view = drive(
        controller_of(resolved(tmp_path, gate_l1=1e-3, resources={"max_attempts": 2}), launcher)
    )
    assert failed(view) == [("transfer", failure.line)]
    assert Counter(part.status for part in view.parts) == {Status.DONE: 2, Status.FAILED: 1}


def test_a_store_that_cannot_be_written_fails_stages_and_not_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Claims, "take", full)
    view = drive(controller_of(one_cell(tmp_path), FakeLauncher()))
    assert {reason for _, reason in failed(view)} == {"OSError: [Errno 28] No space left on device"}


def test_the_record_says_on_what_layout_it_failed(tmp_path: Path) -> None:
    asked, clock = (
        one_cell(tmp_path, resources={"timeout_s": 10, "max_attempts": 1}, engine=MICRO_4),
        Clock(),
    )
    launcher = FakeLauncher(slots=1, holds=True)
    controller = controller_of(asked, launcher, clock)
    controller.step()
    clock.now = 11
    controller.step()
    controller.step()
    (failure,) = Store(asked.grid.storage.store).failures.history(launcher.started_keys()[0])
    assert failure.kind is FailureKind.TIMEOUT
    assert failure.layout["engine"]["micro_batch"] == 4


# --- room ---------------------------------------------------------------------------------------------------------------


def test_what_is_asked_of_a_stage_goes_with_it(tmp_path: Path) -> None:
    resources = {
        "cpus_per_rank": 2,
        "hang_timeout_s": 60,
        "snapshot_every_s": 5,
        "snapshot_every_steps": 7,
    }
    launcher = FakeLauncher(slots=2)
    drive(controller_of(one_cell(tmp_path, resources=resources), launcher))
    for task in launcher.started:
        assert task.layout.cpus == 2
        assert (task.hang_timeout_s, task.snapshot_every_s, task.snapshot_every_steps) == (60, 5, 7)


def test_a_cell_that_needs_more_than_the_cluster_is_given_up_with_what_it_needs(
    tmp_path: Path,
) -> None:
    launcher = FakeLauncher(slots=2)
    view = drive(controller_of(one_cell(tmp_path, resources={"ranks": 4}), launcher))
    assert ("rank", "needs 4 x (1 CPU); the whole cluster has 2 CPUs") in failed(view)


def test_a_gang_waits_for_nodes_that_were_lost(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=4, fail=[(StageKind.RANKING, LOST)])
    controller = controller_of(one_cell(tmp_path, resources={"ranks": 4}), launcher)
    controller.step()
    launcher.cluster = Capacity(2)
    for _ in range(5):
        view = controller.step()
    assert view.cells[0].status is Status.WAITING
    assert "waits for nodes to come back" in view.cells[0].reason
    launcher.cluster = Capacity(4)
    assert drive(controller).status is Status.DONE


def test_what_runs_out_of_the_ordinary_says_so(tmp_path: Path) -> None:
    launcher = FakeLauncher(slots=1, fail=[(StageKind.TRANSFER, OUT_OF_MEMORY)])
    controller = controller_of(one_cell(tmp_path, transfer=SETTINGS), launcher)
    while len(tasks(launcher, StageKind.TRANSFER)) < 2:
        view = controller.step()
    assert view.cells[0].reason == (
        "again after OutOfMemoryError: 2 GiB wanted; 1 rank of 1 CPU, ZeRO 2, micro-batch 1, activation checkpointing"
    )
