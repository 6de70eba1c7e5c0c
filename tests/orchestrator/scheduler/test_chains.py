"""The controller with stages that follow one another in one process."""

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.layouts.capacity import Capacity
from orchestrator.scheduler.stage_store import ClaimedElsewhere, ClaimOutcome, StageStore
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_chains import FakeChains, of_cells, until_begun
from tests.orchestrator.fake_launcher import (
    Clock,
    FakeLauncher,
    controller_of,
    drive,
    one_cell,
    resolved,
    store_of,
)
from tests.orchestrator.scheduler.test_other_drivers import open_claims

TRANSFER, PRUNE = StageKind.TRANSFER, StageKind.PRUNE
EVALUATE, MEASURE = StageKind.EVALUATE, StageKind.MEASURE
BUG = Failure("KeyError", "'layers'", FailureKind.UNKNOWN)
LOST = Failure("WorkerCrashedError", "ended by SIGKILL", FailureKind.LOST)


def test_the_stages_of_a_cell_follow_one_another_in_one_process(tmp_path: Path) -> None:
    launcher = FakeChains(measures_alone=False)
    view = drive(controller_of(one_cell(tmp_path), launcher))
    assert view.status is Status.DONE
    assert of_cells(launcher)[0] == [TRANSFER, PRUNE, EVALUATE, MEASURE]
    assert Counter(launcher.started_kinds())[PRUNE] == 1
    assert open_claims(store_of(one_cell(tmp_path))) == []


def test_a_measurement_that_needs_a_quiet_machine_is_a_process_of_its_own(tmp_path: Path) -> None:
    launcher = FakeChains()
    drive(controller_of(one_cell(tmp_path), launcher))
    assert of_cells(launcher)[:1] == [[TRANSFER, PRUNE, EVALUATE]]
    assert [MEASURE] in launcher.chains


def test_without_stage_two_a_chain_begins_with_the_deletion(tmp_path: Path) -> None:
    launcher = FakeChains()
    view = drive(controller_of(one_cell(tmp_path, transfer="none", drift=None), launcher))
    assert view.status is Status.DONE
    assert of_cells(launcher)[0] == [PRUNE, EVALUATE]


def test_a_gang_hands_nothing_over_and_the_stages_behind_it_follow_the_deletion(
    tmp_path: Path,
) -> None:
    launcher = FakeChains()
    drive(controller_of(one_cell(tmp_path, resources={"ranks": 2}), launcher))
    assert of_cells(launcher)[:2] == [[TRANSFER], [PRUNE, EVALUATE]]


def test_a_grid_may_have_every_stage_in_a_process_of_its_own(tmp_path: Path) -> None:
    launcher = FakeChains(measures_alone=False)
    drive(controller_of(one_cell(tmp_path, resources={"hand_over": False}), launcher))
    assert {len(chain) for chain in launcher.chains} == {1}


def test_a_measurement_that_cells_share_follows_in_one_of_their_processes(tmp_path: Path) -> None:
    grid = resolved(tmp_path, ratios=[0.5], transfer="none", drift=None)
    launcher = FakeChains(measures_alone=False)
    assert drive(controller_of(grid, launcher)).status is Status.DONE
    assert sorted(map(len, of_cells(launcher))) == [1, 2, 3], "of the reference, and of two cells"
    assert max(Counter(launcher.started_keys()).values()) == 1


def test_a_measurement_that_cells_share_waits_behind_no_training(tmp_path: Path) -> None:
    """A cell that trains nothing can have it hours before."""
    grid = resolved(tmp_path, ratios=[0.5])
    launcher = FakeChains(measures_alone=False)
    assert drive(controller_of(grid, launcher)).status is Status.DONE
    assert of_cells(launcher)[-1] == [MEASURE]
    assert of_cells(launcher).count([TRANSFER, PRUNE, EVALUATE]) == 2
    assert max(Counter(launcher.started_keys()).values()) == 1


def test_a_stage_behind_another_waits_for_its_turn_and_says_so(tmp_path: Path) -> None:
    grid = resolved(tmp_path, ratios=[0.5], transfer="none", drift=None)
    launcher = FakeChains(measures_alone=False)
    controller = controller_of(grid, launcher)
    until_begun(controller, launcher, EVALUATE)
    waiting = launcher.waiting(MEASURE)
    for _ in range(3):
        controller.step()
    assert waiting.spec.key not in launcher.started_keys(), "and is not started beside"
    activity = controller._state.activity()
    assert activity.waits[waiting.spec.key] == "waits for its turn behind evaluate"
    assert launcher.tasks(EVALUATE)[0].spec.key in activity.running


def test_a_process_takes_room_once_however_many_stages_it_has(tmp_path: Path) -> None:
    grid = resolved(tmp_path, ratios=[0.5])
    launcher = FakeChains(slots=2)
    controller = controller_of(grid, launcher)
    while len(launcher.tasks(TRANSFER)) < 2:
        controller.step()
    assert launcher.tasks(EVALUATE) == [], "one CPU each: the second waits for no end"


def test_the_cells_stage_is_the_one_that_computes(tmp_path: Path) -> None:
    launcher = FakeChains()
    controller = controller_of(one_cell(tmp_path), launcher)
    until_begun(controller, launcher, PRUNE)
    (cell,) = controller.step().cells
    assert (cell.stage, cell.status) == (PRUNE, Status.RUNNING)


def test_a_stage_that_is_done_ends_the_chain_before_it(tmp_path: Path) -> None:
    grid = one_cell(tmp_path)
    keys = drive(controller_of(grid, FakeLauncher())).cells[0].stage_keys
    store_of(grid).stages.remove(keys[PRUNE])
    launcher = FakeChains()
    assert drive(controller_of(grid, launcher)).status is Status.DONE
    assert launcher.chains == [[TRANSFER, PRUNE]]


def test_a_stage_that_nobody_follows_after_all_takes_no_more_than_its_own_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room of a chain is that of its evaluation, on a GPU; a deletion alone needs none."""
    launcher = FakeChains(measures_alone=False)
    launcher.cluster = Capacity(cpus=8, gpus=2, gpu_memory_bytes=80 * 10**9)
    claim = StageStore.claim

    def refuse(stages: StageStore, spec: StageSpec) -> ClaimOutcome:
        return ClaimedElsewhere("another") if spec.kind is EVALUATE else claim(stages, spec)

    monkeypatch.setattr(StageStore, "claim", refuse)
    controller = controller_of(one_cell(tmp_path, transfer="none", drift=None), launcher)
    until_begun(controller, launcher, PRUNE)
    (task,) = launcher.tasks(PRUNE)
    assert of_cells(launcher)[0] == [PRUNE]
    assert task.layout == controller._state.running[task.spec.key].room
    assert task.layout.gpus == 0


def test_each_stage_has_the_time_limit_for_itself_from_when_it_computes(tmp_path: Path) -> None:
    clock, launcher = Clock(), FakeChains()
    grid = one_cell(tmp_path, resources={"timeout_s": 99, "max_attempts": 1})
    controller = controller_of(grid, launcher, clock)
    until_begun(controller, launcher, TRANSFER)
    for clock.now in (0, 90):
        controller.step()
    launcher.holds = False
    controller.step()
    launcher.holds = True
    for clock.now in (100, 189):
        controller.step()
    assert launcher.cancelled == []
    clock.now = 190
    controller.step()
    assert launcher.cancelled == [launcher.tasks(PRUNE)[0].spec.key]
    for _ in range(3):
        view = controller.step()
    assert view.cells[0].reason == "Timeout: ran longer than 99 s"


def test_chains_on_gpus_are_where_the_evaluation_is(tmp_path: Path) -> None:
    launcher = FakeChains(measures_alone=False)
    launcher.cluster = Capacity(cpus=8, gpus=2, gpu_memory_bytes=80 * 10**9)
    drive(controller_of(one_cell(tmp_path, transfer="none", drift=None), launcher))
    (task,) = launcher.tasks(PRUNE)
    assert task.layout.gpus == 1
