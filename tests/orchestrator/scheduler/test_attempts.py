"""The controller when attempts fail: what is tried again or given up, and who fails with it."""

from collections import Counter
from pathlib import Path

from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import (
    Clock,
    FakeLauncher,
    controller_of,
    drive,
    one_cell,
    resolved,
    store_of,
)
from tests.orchestrator.fresh_view import view_of

BUG = Failure("KeyError", "'layers'", FailureKind.UNKNOWN)
USERS_OWN = Failure("CalibrationTooShortError", "text 'wiki' is too short", FailureKind.BAD_INPUT)


def test_a_failure_is_tried_again_and_forgotten_when_it_works(tmp_path: Path) -> None:
    launcher = FakeLauncher(fail=[(StageKind.PRUNE, BUG)])
    view = drive(controller_of(resolved(tmp_path), launcher))
    assert view.status is Status.DONE
    assert Counter(launcher.started_kinds())[StageKind.PRUNE] == 4


def test_after_the_last_attempt_only_the_cells_that_need_the_stage_fail(tmp_path: Path) -> None:
    grid = resolved(tmp_path, resources={"max_attempts": 3, "max_parallel": 1}, gate_l1=1e-3)
    launcher = FakeLauncher(fail=[(StageKind.TRANSFER, BUG)] * 3)
    view = drive(controller_of(grid, launcher))
    attempts = Counter(launcher.started_keys())
    failed = [cell for cell in view.cells if cell.status is Status.FAILED]
    assert len(failed) == 1
    assert (failed[0].stage, failed[0].reason) == ("transfer", "KeyError: 'layers'")
    assert attempts[failed[0].stage_keys["transfer"]] == 3
    assert {part.status for part in view.parts if part is not failed[0]} == {Status.DONE}
    assert view.status is Status.FAILED
    assert view.reason == "1 of 3 failed"
    assert view_of(grid).cells == view.cells  # and says so when nobody is at work


def test_a_failed_ranking_fails_its_cells_and_no_others(tmp_path: Path) -> None:
    grid = resolved(tmp_path, resources={"max_parallel": 1})
    launcher = FakeLauncher(fail=[(StageKind.RANKING, BUG)] * 2)
    view = drive(controller_of(grid, launcher))
    by_ranking = {ranking.key: ranking.status for ranking in view.rankings}
    assert sorted(by_ranking.values()) == [Status.DONE, Status.FAILED]
    assert all(cell.status is by_ranking[cell.ranking_key] for cell in view.cells)


def test_an_error_of_the_users_is_not_tried_again(tmp_path: Path) -> None:
    launcher = FakeLauncher(fail=[(StageKind.DENSE, USERS_OWN)])
    view = drive(controller_of(resolved(tmp_path), launcher))
    assert Counter(launcher.started_kinds())[StageKind.DENSE] == 1
    assert view.dense[0].status is Status.FAILED
    assert "too short" in view.dense[0].reason
    assert {cell.status for cell in view.cells} == {Status.DONE}


def test_running_again_gives_what_failed_new_attempts(tmp_path: Path) -> None:
    drive(controller_of(resolved(tmp_path), FakeLauncher(fail=[(StageKind.DENSE, USERS_OWN)])))
    again = FakeLauncher()
    assert drive(controller_of(resolved(tmp_path), again)).status is Status.DONE
    assert again.started_kinds() == [StageKind.DENSE, StageKind.MEASURE]


def test_a_stage_that_ends_without_a_result_has_failed(tmp_path: Path) -> None:
    launcher = FakeLauncher()
    launcher.loses = {StageKind.EVALUATE}
    view = drive(controller_of(resolved(tmp_path, resources={"max_attempts": 2}), launcher))
    assert Counter(launcher.started_kinds())[StageKind.EVALUATE] == 2 * 3
    assert {cell.reason.partition(":")[0] for cell in view.cells} == {"LostResult"}


def test_a_stage_that_takes_too_long_is_cancelled_and_tried_again(tmp_path: Path) -> None:
    clock, launcher = Clock(), FakeLauncher(holds=True)
    grid = resolved(
        tmp_path,
        resources={"timeout_s": 99, "measure_wait_s": 1, "max_parallel": 2, "max_attempts": 2},
        ratios=[0.2],
        gate_l1=1e-3,
    )
    controller = controller_of(grid, launcher, clock)
    launcher.queues = True
    for clock.now in (0, 40):
        controller.step()
    launcher.queues = False
    for clock.now in (50, 149):
        controller.step()
    assert launcher.cancelled == [], "it was seen to begin at 50"
    clock.now = 149.5
    controller.step()
    controller.step()
    first, second = launcher.started_keys()[:2]
    assert launcher.cancelled == [first, second]
    assert launcher.started_keys()[2:] == [first, second], "the second attempts"
    controller.step()
    clock.now = 249
    for _ in range(3):
        view = controller.step()
    assert view.cells[0].status is Status.FAILED
    assert view.cells[0].reason == "Timeout: ran longer than 99 s"
    recorded = store_of(grid).failures.history(first)
    assert [failure.error for failure in recorded] == ["Timeout", "Timeout"], (
        "a cancelled process cannot do it itself"
    )


def test_what_waits_in_the_cluster_or_for_its_device_does_not_time_out(tmp_path: Path) -> None:
    clock, launcher = Clock(), FakeLauncher(holds=True)
    launcher.queues = True
    controller = controller_of(one_cell(tmp_path, resources={"timeout_s": 99}), launcher, clock)
    for clock.now in (0, 50, 1e6):
        controller.step()
    assert launcher.cancelled == []
