"""A driver whose store gives no answer for a while: nothing ends, nothing is lost, all is said."""

import errno
from pathlib import Path

import pytest

from orchestrator.scheduler.controller import Controller
from orchestrator.scheduler.faults.outage import LONGEST_WAIT_S
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.files import StoreFiles
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator.fake_launcher import (
    Clock,
    FakeLauncher,
    controller_of,
    one_cell,
    resolved,
    store_of,
)
from tests.orchestrator.faulty_store import ElsewhereLauncher, Faults, inject

BROKEN = Failure("KeyError", "'layers'", when=1.0)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return inject(monkeypatch)


def drive(controller: Controller, clock: Clock, steps: int = 400) -> GridView:
    """Step until the grid is over, each a minute after the other."""
    for _ in range(steps):
        view = controller.step()
        if view.status in (Status.DONE, Status.FAILED):
            return view
        clock.now += 60
    raise AssertionError(f"still {view.status}: {[cell.reason for cell in view.cells]}")


@pytest.mark.parametrize("every", [23, 29, 37, 41, 53, 101])
def test_a_store_that_fails_now_and_then_changes_nothing(
    tmp_path: Path, faults: Faults, every: int
) -> None:
    """Whichever request it is: the faults stand before the store's own patience."""
    grid, clock = one_cell(tmp_path), Clock()
    launcher = ElsewhereLauncher(faults, slots=2)
    controller = controller_of(grid, launcher, clock)
    faults.every = every
    assert drive(controller, clock).status is Status.DONE
    assert faults.failed
    faults.every = 0
    assert len(launcher.started_keys()) == len(set(launcher.started_keys())), "each once"
    assert store_of(grid).failures.history(launcher.started_keys()[0]) == ()


def test_a_store_that_is_away_for_minutes_is_waited_for_and_said_to_be_away(
    tmp_path: Path, faults: Faults
) -> None:
    clock = Clock()
    launcher = ElsewhereLauncher(faults, slots=2, holds=True)
    controller = controller_of(resolved(tmp_path), launcher, clock)
    before = controller.step()
    assert before.notices == ()
    faults.away = True
    clock.now += 1
    behind = controller.step()
    (notice,) = behind.notices
    assert notice.startswith("behind since ")
    assert "the store gives no answer ([Errno 116] Stale file handle)" in notice
    assert behind.cells == before.cells
    for _ in range(20):
        clock.now += 60
        assert controller.step().notices == (notice,)
    assert not launcher.cancelled
    faults.away, launcher.holds = False, False
    clock.now += 60
    assert controller.step().notices == ()
    assert drive(controller, clock).status is Status.DONE


def test_a_store_that_is_away_is_asked_ever_less_often(tmp_path: Path, faults: Faults) -> None:
    clock = Clock()
    controller = controller_of(one_cell(tmp_path), ElsewhereLauncher(faults), clock)
    faults.away = True
    for _ in range(600):
        controller.step()
        clock.now += 1
    looks = 600 / (0.75 * LONGEST_WAIT_S) + 5
    assert 600 / (1.25 * LONGEST_WAIT_S) <= faults.failed <= 5 * looks, "some requests in each"


def test_a_store_that_is_away_at_the_first_step_shows_a_grid_without_cells(
    tmp_path: Path, faults: Faults
) -> None:
    clock = Clock()
    controller = controller_of(one_cell(tmp_path), ElsewhereLauncher(faults), clock)
    faults.away = True
    controller.tidy()
    view = controller.step()
    assert (view.cells, view.status) == ((), Status.RUNNING)
    assert len(view.notices) == 1
    faults.away = False
    clock.now += 60
    assert drive(controller, clock).status is Status.DONE


def test_what_ends_while_the_store_is_away_is_taken_up_afterwards(
    tmp_path: Path, faults: Faults
) -> None:
    grid, clock = one_cell(tmp_path, resources={"max_attempts": 1}), Clock()
    launcher = ElsewhereLauncher(faults, slots=2, holds=True, fail=[(StageKind.RANKING, BROKEN)])
    controller = controller_of(grid, launcher, clock)
    controller.step()
    faults.away, launcher.holds = True, False
    for _ in range(5):
        clock.now += 60
        assert controller.step().cells[0].status is Status.RUNNING
    faults.away = False
    clock.now += 60
    view = drive(controller, clock)
    assert (view.cells[0].status, view.cells[0].reason) == (Status.FAILED, BROKEN.line)
    ranking = launcher.tasks(StageKind.RANKING)
    assert len(ranking) == 1
    assert store_of(grid).failures.history(ranking[0].spec.key) == (BROKEN,)


def test_a_stop_needs_no_store(tmp_path: Path, faults: Faults) -> None:
    clock = Clock()
    launcher = ElsewhereLauncher(faults, holds=True)
    controller = controller_of(one_cell(tmp_path), launcher, clock)
    controller.step()
    faults.away = True
    controller.stop("stopped by SIGINT")
    assert launcher.stopped
    assert controller.view().status is Status.KILLED


def test_a_stage_that_got_no_answer_waits_and_says_so_and_does_not_count(
    tmp_path: Path, faults: Faults
) -> None:
    away = Failure("UnreachableError", "the hub did not answer", FailureKind.UNREACHABLE)
    clock = Clock()
    launcher = ElsewhereLauncher(faults, slots=1, fail=[(StageKind.RANKING, away)] * 6)
    controller = controller_of(one_cell(tmp_path, resources={"max_attempts": 1}), launcher, clock)
    controller.step()
    controller.step()
    (cell,) = controller.step().cells
    assert cell.status is Status.WAITING
    assert "UnreachableError: the hub did not answer" in cell.reason
    assert cell.reason.startswith("waits ")
    assert len(launcher.tasks(StageKind.RANKING)) == 1, "it waits"
    clock.now += 7
    controller.step()
    assert len(launcher.tasks(StageKind.RANKING)) == 2
    assert drive(controller, clock).status is Status.DONE


def test_a_refusal_at_the_end_of_a_stage_is_the_stages_failure(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "not yours")

    clock = Clock()
    launcher = ElsewhereLauncher(faults, slots=1, fail=[(StageKind.RANKING, BROKEN)])
    controller = controller_of(one_cell(tmp_path, resources={"max_attempts": 1}), launcher, clock)
    controller.step()
    monkeypatch.setattr("orchestrator.scheduler.stage_store.StageStore.progress", refused)
    view = drive(controller, clock)
    assert view.cells[0].reason == "PermissionError: [Errno 13] not yours"


def no_folder_goes(*_: object) -> None:
    raise OSError(errno.ETIMEDOUT, "no answer")


def weights_of(grid: Resolved) -> list[Path]:
    return list(Path(store_of(grid).uri).glob("stages/transfer/*/files-*"))


def test_weights_that_could_not_be_dropped_are_dropped_a_minute_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, clock = one_cell(tmp_path), Clock()
    launcher = FakeLauncher(slots=1)
    controller = controller_of(grid, launcher, clock)
    with monkeypatch.context() as outage:
        outage.setattr(StoreFiles, "remove_folder", no_folder_goes)
        while not launcher.tasks(StageKind.EVALUATE):
            assert controller.step().notices == (), "that holds nothing up"
        assert len(weights_of(grid)) == 1
    clock.now += 60
    controller.step()
    assert weights_of(grid) == []


def test_the_next_driver_drops_what_the_last_one_had_begun_to_drop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, clock = one_cell(tmp_path), Clock()
    with monkeypatch.context() as outage:
        outage.setattr(StoreFiles, "remove_folder", no_folder_goes)
        drive(controller_of(grid, FakeLauncher(slots=1), clock), clock)
    assert len(weights_of(grid)) == 1
    controller_of(grid, FakeLauncher(slots=1), clock).tidy()
    assert weights_of(grid) == []
