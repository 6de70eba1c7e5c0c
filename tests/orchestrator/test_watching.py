"""A grid watched by its store alone, while a driver of another process works on it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.coordination.news import DriverNews, Work
from orchestrator.execution.launcher import Heard
from orchestrator.report.printing import console
from orchestrator.report.standing.line_report import LineReport
from orchestrator.scheduler.controller import Controller
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.views.grid_view import GridView, Status
from orchestrator.watching import GridWatch, Seen, follow, together
from tests.orchestrator import sample_views
from tests.orchestrator.fake_chains import FakeChains, until_begun
from tests.orchestrator.fake_launcher import FakeLauncher, controller_of, drive, one_cell
from trsp.errors import UnreachableError

DIVERGED = Failure("TrainingDivergedError", "the loss is 1e9", FailureKind.BAD_INPUT)


def step(controller: Controller, launcher: FakeLauncher, says: str) -> None:
    """One step in which every stage that runs says this of itself, told at once."""
    launcher.says = {task.spec.key: Heard(says, "10.0.0.3") for task in launcher.started}
    controller.step()
    controller._stages.holdings._heartbeat.beat()


def test_it_sees_what_runs_and_how_far_it_is(tmp_path: Path) -> None:
    grid, launcher = one_cell(tmp_path), FakeLauncher(holds=True)
    watch, controller = GridWatch(grid), controller_of(grid, launcher)
    step(controller, launcher, "")
    step(controller, launcher, "round 1 of 2, step 3 of 20, loss 2.713")
    seen = watch.look()
    (ranking,) = (key for key in seen.news.working if key.startswith(StageKind.RANKING))
    assert seen.news.working[ranking].progress == "round 1 of 2, step 3 of 20, loss 2.713"
    assert seen.news.working[ranking].where == "10.0.0.3"
    assert [each.status for each in seen.view.rankings] == [Status.RUNNING]
    assert seen.driven
    assert not seen.is_over
    controller.stop("the test is over")


@pytest.mark.parametrize("launcher", [FakeLauncher(), FakeChains()], ids=["alone", "in chains"])
def test_it_sees_each_stage_end_and_so_the_grid(tmp_path: Path, launcher: FakeLauncher) -> None:
    """In a chain all stages are claimed at its beginning, long before they end."""
    grid = one_cell(tmp_path)
    watch, controller = GridWatch(grid), controller_of(grid, launcher)
    watch._store.claims.drivers._recheck_s = 0.0  # this driver lives for tenths of a second
    statuses = [watch.look().view.status]
    for _ in range(40):
        step(controller, launcher, "")
        statuses.append(watch.look().view.status)
    assert list(dict.fromkeys(statuses)) == [Status.WAITING, Status.RUNNING, Status.DONE]
    assert watch.look().is_over
    controller.close()


def test_a_cell_that_a_living_driver_has_given_up_has_failed(tmp_path: Path) -> None:
    fail = [(StageKind.RANKING, DIVERGED)] * 5
    grid, launcher = one_cell(tmp_path), FakeLauncher(fail=fail)
    controller = controller_of(grid, launcher)
    for _ in range(10):
        step(controller, launcher, "")
    (cell,) = GridWatch(grid).look().view.cells
    assert cell.status is Status.FAILED
    assert "the loss is 1e9" in cell.reason
    controller.close()


def test_a_grid_that_nobody_drives_is_over(tmp_path: Path) -> None:
    seen = GridWatch(one_cell(tmp_path)).look()
    assert seen.is_over
    assert not seen.driven
    assert seen.view.status is Status.WAITING


def test_news_of_two_drivers_are_one_since_the_first_began() -> None:
    first, second = DriverNews(100.0, {"a": Work(1.0)}), DriverNews(50.0, {"b": Work(2.0)})
    both = together((first, DriverNews(), second))
    assert (both.began, set(both.working)) == (50.0, {"a", "b"})


def looks(*moments: Seen | Exception) -> Callable[[], Seen]:
    """Looks that see these one after another."""
    left = list(moments)

    def look() -> Seen:
        moment = left.pop(0)
        if isinstance(moment, Exception):
            raise moment
        return moment

    return look


def seen(status: Status, *, driven: bool = True) -> Seen:
    cell = replace(sample_views.waiting(sample_views.cells()[0]), status=status, stage="transfer")
    return Seen(GridView("grid-1", "sample", (cell,), (), ()), DriverNews(), driven)


def test_following_ends_with_the_grid(capsys: pytest.CaptureFixture[str]) -> None:
    moments = looks(seen(Status.RUNNING), seen(Status.RUNNING), seen(Status.DONE))
    slept: list[float] = []
    last = follow(moments, LineReport(console()), 2.0, slept.append)
    assert last.view.cells[0].status is Status.DONE
    assert sum(slept) == 4.0
    assert capsys.readouterr().out.count(": done") == 1


def test_following_ends_where_the_driver_has_died() -> None:
    moments = looks(seen(Status.RUNNING), seen(Status.RUNNING, driven=False))
    assert not follow(moments, LineReport(console()), 1.0, lambda _: None).driven


def test_a_store_that_is_away_for_a_while_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    away = UnreachableError("the store gives no answer")
    moments = looks(seen(Status.RUNNING), away, seen(Status.DONE))
    follow(moments, LineReport(console()), 1.0, lambda _: None)
    printed = capsys.readouterr().out
    assert "the store gives no answer" in printed
    assert "the store answers again" in printed


def test_a_store_that_cannot_be_read_at_first_is_an_error() -> None:
    with pytest.raises(UnreachableError):
        follow(looks(UnreachableError("no")), LineReport(console()), 1.0, lambda _: None)


def test_it_sees_the_end_of_a_chain_of_which_it_saw_the_beginning_alone(tmp_path: Path) -> None:
    """By then the first stage's weights are dropped, as if nobody had computed it."""
    grid, launcher = one_cell(tmp_path), FakeChains()
    watch, controller = GridWatch(grid), controller_of(grid, launcher)
    watch._store.claims.drivers._recheck_s = 0.0
    until_begun(controller, launcher, StageKind.TRANSFER)
    assert watch.look().view.cells[0].stage == StageKind.TRANSFER
    watch.look()
    launcher.holds = False
    drive(controller)
    controller.close()
    assert watch.look().view.status is Status.DONE
