"""Cells that are cancelled while the grid runs: the others go on, and what only they need ends."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.coordination.wishes import LOOK_EVERY_S, Wish, WishKind
from orchestrator.grid.cells import Cell
from orchestrator.scheduler.controller import Controller
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator.fake_launcher import FakeLauncher, resolved, store_of

BY = "ada@node-1"


@dataclass
class Run:
    """A grid of 2 ratios x 2 lambda_1 that runs; both lambda_1 choose the same two layers."""

    grid: Resolved
    launcher: FakeLauncher = field(default_factory=FakeLauncher)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.controller = Controller(self.grid, store_of(self.grid), self.launcher, self._clock)
        self.controller.tidy()

    def _clock(self) -> float:
        return self.now

    def step(self, steps: int = 1) -> GridView:
        for _ in range(steps):
            self.now += LOOK_EVERY_S
            view = self.controller.step()
        return view

    def to_its_end(self) -> GridView:
        for _ in range(50):
            view = self.step()
            if view.status in (Status.DONE, Status.FAILED):
                return view
        pytest.fail("it does not end")

    def wish(self, kind: WishKind, *cells: Cell, stages: tuple[str, ...] = ()) -> None:
        keys = tuple(cell.key for cell in cells)
        store_of(self.grid).wishes.make(self.grid.key, Wish(kind, BY, keys, stages))

    def cells(self, ratio: float, gate_l1: float | None = None) -> list[Cell]:
        found = [cell for cell in self.grid.cells if cell.ratio == ratio]
        return [cell for cell in found if gate_l1 in (None, cell.gate_l1)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(resolved(tmp_path))


def status(view: GridView, cell: Cell) -> tuple[Status, str]:
    found = next(each for each in view.cells if each.cell.key == cell.key)
    return found.status, found.reason


def test_a_cancelled_cell_is_killed_and_the_others_are_done(run: Run) -> None:
    (gone,) = run.cells(0.5, 1e-3)
    run.wish(WishKind.CANCEL, gone)
    view = run.to_its_end()
    assert status(view, gone) == (Status.KILLED, f"cancelled by {BY}")
    others = [cell for cell in run.grid.cells if cell is not gone]
    assert {status(view, cell)[0] for cell in others} == {Status.DONE}


def test_a_grid_of_which_a_cell_was_cancelled_is_not_done(run: Run) -> None:
    run.wish(WishKind.CANCEL, *run.cells(0.5, 1e-3))
    view = run.to_its_end()
    assert (view.status, view.reason) == (Status.FAILED, "1 of 5 cancelled")


def test_no_deeper_ranking_is_asked_for_than_the_others_need(run: Run) -> None:
    run.wish(WishKind.CANCEL, *run.cells(0.5))
    run.to_its_end()
    assert {task.spec.depth for task in run.launcher.tasks(StageKind.RANKING)} == {2}


def test_a_stage_that_only_a_cancelled_cell_needs_is_ended(run: Run) -> None:
    run.step(2)
    run.launcher.holds = True
    while not run.launcher.tasks(StageKind.TRANSFER):
        run.step()
        run.launcher.holds = not run.launcher.holds
    run.launcher.holds = True
    transfers = [task.spec.key for task in run.launcher.tasks(StageKind.TRANSFER)]
    view = run.step()
    mine = {c.stage_keys["transfer"] for c in view.cells if c.cell.ratio == 0.5} & {*transfers}
    run.wish(WishKind.CANCEL, *run.cells(0.5))
    run.step()
    assert set(run.launcher.cancelled) == mine
    run.launcher.holds = False
    run.to_its_end()
    assert not [key for key in transfers if store_of(run.grid).failures.history(key)]


def test_a_stage_that_another_cell_needs_goes_on(run: Run) -> None:
    run.launcher.holds = True
    run.step()
    run.wish(WishKind.CANCEL, *run.cells(0.2, 1e-3))
    run.step()
    assert run.launcher.cancelled == []


def test_a_ranking_of_cancelled_cells_alone_is_killed(run: Run) -> None:
    run.wish(WishKind.CANCEL, *run.cells(0.2, 1e-3), *run.cells(0.5, 1e-3))
    view = run.to_its_end()
    assert {ranking.status for ranking in view.rankings if ranking.gate_l1 == 1e-3} == {
        Status.KILLED
    }


def test_a_cell_that_is_wanted_again_is_done(run: Run) -> None:
    (cell,) = run.cells(0.5, 1e-3)
    run.launcher.holds = True
    run.wish(WishKind.CANCEL, cell)
    run.step()
    run.wish(WishKind.RETRY, cell)
    run.launcher.holds = False
    assert status(run.to_its_end(), cell)[0] is Status.DONE


def test_what_was_given_up_is_tried_again(tmp_path: Path) -> None:
    bad = Failure("InvalidInputError", "no such file", FailureKind.BAD_INPUT)
    run = Run(resolved(tmp_path), FakeLauncher(fail=[(StageKind.DENSE, bad)]))
    view = run.step(2)
    assert view.dense[0].status is Status.FAILED
    run.wish(WishKind.RETRY)
    assert run.to_its_end().status is Status.DONE


def test_a_grid_is_asked_to_stop(run: Run) -> None:
    run.step()
    assert run.controller.asked_to_stop == ""
    run.wish(WishKind.CANCEL)
    run.step()
    assert run.controller.asked_to_stop == f"cancelled by {BY}"
