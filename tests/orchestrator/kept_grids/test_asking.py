"""What people ask of drivers: who is asked, who answers, and what is said of it."""

from pathlib import Path

import pytest

from orchestrator.coordination import wishes
from orchestrator.coordination.process import ProcessIdentity
from orchestrator.coordination.wishes import LOOK_EVERY_S, NewWishes, Wish, WishKind
from orchestrator.execution.launcher import Finished
from orchestrator.kept_grids.asking import Asked, cancel, retry
from orchestrator.kept_grids.document import kept_grid
from orchestrator.kept_grids.listing import listed
from orchestrator.report.looking.asked_text import cancelled_lines, retried_lines
from orchestrator.run import run_grid, view_of
from orchestrator.stages.resolve import Resolved
from orchestrator.store.failures import Failure
from orchestrator.store.store import Store
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import FakeLauncher, controller_of, drive, one_cell, store_of
from trsp.errors import InvalidInputError

HERE = ProcessIdentity.here()


@pytest.fixture
def grid(tmp_path: Path) -> Resolved:
    return one_cell(tmp_path)


@pytest.fixture
def store(grid: Resolved) -> Store:
    return store_of(grid)


class Driver:
    """A driver of the grid in another process, which obeys between two polls of who asks."""

    def __init__(self, store: Store, grid: Resolved) -> None:
        store.claims.drivers.say("me", HERE, grid=grid.key)
        self._now = 0.0
        self._new = NewWishes(store.wishes, grid.key, "me", lambda: self._now)
        self._new.begin()

    def wait(self, _: float) -> None:
        self._now += LOOK_EVERY_S
        self._new.look()


def fail_the_ranking(store: Store, grid: Resolved) -> str:
    key = view_of(grid).cells[0].ranking_key
    store.failures.record(key, Failure("ValueError", "no"))
    return key


def test_the_driver_that_obeys_is_named(store: Store, grid: Resolved) -> None:
    driver = Driver(store, grid)
    asked = cancel(store, view_of(grid), ["#1"], driver.wait)
    assert asked == Asked((grid.cells[0].name,), (HERE.text,), (HERE.text,))


def test_a_driver_that_does_not_answer_is_said_not_to(store: Store, grid: Resolved) -> None:
    Driver(store, grid)
    asked = cancel(store, view_of(grid), [], lambda _: None)
    assert (asked.drivers, asked.obeying) == ((HERE.text,), ())
    assert "has not answered within 15 s" in " ".join(cancelled_lines(asked, "g"))


def test_without_a_driver_there_is_nothing_to_cancel(store: Store, grid: Resolved) -> None:
    with pytest.raises(InvalidInputError, match="no driver works on grid 'g'"):
        cancel(store, view_of(grid), [])


def test_a_cell_that_is_done_cannot_be_cancelled(store: Store, grid: Resolved) -> None:
    drive(controller_of(grid, FakeLauncher()))
    with pytest.raises(InvalidInputError, match="is done: there is nothing to cancel"):
        cancel(store, view_of(grid), ["#1"])


def test_a_grid_that_is_done_cannot_be_tried_again(store: Store, grid: Resolved) -> None:
    drive(controller_of(grid, FakeLauncher()))
    with pytest.raises(InvalidInputError, match="grid 'g' is done"):
        retry(store, view_of(grid), [])


def test_failures_are_forgotten_for_the_next_run(store: Store, grid: Resolved) -> None:
    key = fail_the_ranking(store, grid)
    assert view_of(grid).cells[0].status is Status.FAILED
    asked = retry(store, view_of(grid), ["#1"])
    assert asked.forgotten == (key,)
    assert view_of(grid).cells[0].status is Status.WAITING
    said = list(retried_lines(asked, "g"))
    assert said[0].endswith("with 1 stage that had failed")
    assert said[1] == "no driver works on it now: the next trsp run does it"


def test_a_driver_at_work_is_asked_to_try_again(store: Store, grid: Resolved) -> None:
    driver, key = Driver(store, grid), fail_the_ranking(store, grid)
    asked = retry(store, view_of(grid), [], driver.wait)
    assert (asked.forgotten, asked.obeying) == ((key,), (HERE.text,))


def test_a_cancelled_cell_is_shown_as_killed_until_it_is_wanted_again(
    store: Store, grid: Resolved
) -> None:
    cancelled = {grid.cells[0].key: "cancelled by ada@node-1"}
    kept = kept_grid(grid, grid.grid, Path("g.yaml")).model_copy(update={"cancelled": cancelled})
    store.grids.save(grid.key, kept.model_dump(mode="json"))
    (cell,) = view_of(grid).cells
    assert (cell.status, cell.reason) == (Status.KILLED, "cancelled by ada@node-1")
    retry(store, view_of(grid), ["#1"])
    assert view_of(grid).cells[0].status is Status.WAITING


class CancelledFromElsewhere(FakeLauncher):
    """Nothing ends; somebody on another machine wishes that the grid stops."""

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        if self.started:
            store = Store(self.started[0].store)
            (name,) = store.grids.names()
            wish = Wish(WishKind.CANCEL, "ada@node-1")
            store.wishes.make(name.removesuffix(".json"), wish)
        return super().poll(wait_s)


def test_a_grid_that_is_cancelled_ends_as_one_that_was_stopped(
    one_cell_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wishes, "LOOK_EVERY_S", 0.0)
    assert run_grid(one_cell_file, launcher=CancelledFromElsewhere(holds=True)) == 143
    (kept,) = listed(str(one_cell_file.parent / "store"))
    assert (kept.status, kept.kept.grid.reason) == ("killed", "cancelled by ada@node-1")
    assert "cancelled by ada@node-1" in " ".join(capsys.readouterr().out.split())
