"""What many stages cost: requests to the store and looks at room, counted, for time is another's.

The figures of benchmarks/driver_scale.py rest on these counts.
"""

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler import policy
from orchestrator.scheduler.controller import MOST_DECISIONS, Controller
from orchestrator.scheduler.lookout import LOOK_EVERY_S, RANKINGS_PER_LOOK
from orchestrator.scheduler.placement.packing import Packing
from orchestrator.scheduler.policy import Facts, Wait, decide
from orchestrator.scheduler.stage_store import Claimed, StageStore
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.claims import Claims
from orchestrator.store.results import StoreResults
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import (
    Clock,
    FakeLauncher,
    controller_of,
    drive,
    finish,
    resolved,
    store_of,
)
from tests.orchestrator.requests import counted_requests
from tests.orchestrator.scheduler.test_other_drivers import wait_until

MANY = {
    "gate_l1": [step / 1000 for step in range(1, 13)],
    "drift": [step / 100 for step in range(1, 15)],
}


def many_cells(folder: Path) -> Resolved:
    """A grid of 336 cells: 12 rankings, of which three choices of layers come, and 14 lambda_2.

    The scores of the unpruned model are expected to take longer than any cell.
    """
    return resolved(folder, **MANY)


def on_a_clock(grid: Resolved, launcher: FakeLauncher, clock: Clock) -> Controller:
    """A controller that asks for news as often as a real one, by this clock."""
    return Controller(grid, store_of(grid), launcher, clock)


def stuck(slots: int = 4) -> FakeLauncher:
    """A launcher whose stages neither begin nor end."""
    launcher = FakeLauncher(slots, holds=True)
    launcher.queues = True
    return launcher


def test_a_step_in_which_nothing_is_due_asks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = on_a_clock(many_cells(tmp_path), stuck(), Clock())
    before = controller.step()
    asked = counted_requests(monkeypatch)
    for _ in range(3):
        assert controller.step() is before
    assert not [each for each in asked if "drivers/" not in each]  # the heart beats by itself


def test_a_look_at_what_others_do_is_a_few_requests_however_many_cells_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, clock = stuck(slots=13), Clock()
    controller = on_a_clock(many_cells(tmp_path), launcher, clock)
    controller.step()
    assert Counter(launcher.started_kinds())[StageKind.RANKING] == 12
    asked = counted_requests(monkeypatch)
    for _ in range(2):
        asked.clear()
        clock.now += LOOK_EVERY_S
        controller.step()
        rounds = [each for each in asked if "/rounds/" in each]
        assert len(rounds) <= RANKINGS_PER_LOOK
        assert asked.total() <= 20


def test_all_rankings_that_run_are_asked_about_in_turns(tmp_path: Path) -> None:
    launcher, clock = stuck(slots=13), Clock()
    controller = on_a_clock(many_cells(tmp_path), launcher, clock)
    controller.step()
    for task in launcher.started:  # the rounds are there, and nobody has told the controller
        finish(task)
    for _ in range(2):
        clock.now += LOOK_EVERY_S
        view = controller.step()
    assert {ranking.status for ranking in view.rankings} == {Status.DONE}


def test_what_is_done_is_read_once_by_the_next_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = many_cells(tmp_path)
    drive(controller_of(grid, FakeLauncher(slots=20)))
    asked = counted_requests(monkeypatch)
    assert drive(on_a_clock(many_cells(tmp_path), FakeLauncher(), Clock())).status is Status.DONE
    assert {count for request, count in asked.items() if request.startswith("read stages")} == {1}


def test_claims_of_another_driver_are_listed_and_not_tried_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The livelock of two drivers: the second tried each of the first's stages, again and again."""
    grid = many_cells(tmp_path)
    drive(controller_of(resolved(tmp_path, **MANY, transfer={"name": "none"}), FakeLauncher(20)))
    busy = FakeLauncher(slots=100, holds=True)
    first = on_a_clock(grid, busy, Clock())
    first.step()
    assert len(busy.started) > 40
    wait_until(lambda: len(store_of(grid).claims.held_by_others()) == len(busy.started))
    tried: list[str] = []
    take = Claims.take

    def noted(claims: Claims, key: str, owner: str) -> object:
        tried.append(key)
        return take(claims, key, owner)

    monkeypatch.setattr(Claims, "take", noted)
    second = on_a_clock(grid, FakeLauncher(slots=100), Clock())
    for _ in range(3):
        view = second.step()
    assert tried == []
    assert all("another driver" in cell.reason for cell in view.cells if cell.stage == "transfer")


def test_a_claim_that_is_lost_in_between_costs_a_bounded_number_of_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every claim is refused, and no listing knows why: as if others were always faster."""
    grid = many_cells(tmp_path)
    first = on_a_clock(grid, FakeLauncher(slots=100, holds=True), Clock())
    first.step()
    monkeypatch.setattr(Claims, "held_by_others", lambda self, owner="": {})
    decisions: list[int] = []
    decided = policy.decide

    def counted(facts: Facts, *, max_attempts: int) -> tuple[policy.Decision, ...]:
        decisions.append(1)
        return decided(facts, max_attempts=max_attempts)

    monkeypatch.setattr("orchestrator.scheduler.starts.decide", counted)
    on_a_clock(grid, FakeLauncher(slots=100), Clock()).step()
    assert len(decisions) <= MOST_DECISIONS


def test_equal_layouts_are_refused_by_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [StageSpec(StageKind.EVALUATE, {"number": number}) for number in range(500)]
    layouts = {need.key: Layout(gpus=1) for need in needs}
    looks: list[Layout] = []
    fits = Packing.fits

    def noted(packing: Packing, layout: Layout) -> bool:
        looks.append(layout)
        return fits(packing, layout)

    monkeypatch.setattr(Packing, "fits", noted)
    full = {"rank-1": policy.Running(StageKind.RANKING, Layout(gpus=4))}
    facts = Facts(needs, layouts=layouts, running=full, capacity=Capacity(8, 4))
    decisions = decide(facts, max_attempts=3)
    assert len(decisions) == 500
    assert all(isinstance(each, Wait) for each in decisions)
    assert len(looks) < 10


def test_a_stage_that_nobody_has_worked_on_is_claimed_by_three_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(many_cells(tmp_path))
    stages = StageStore(store, StoreResults(store), keep_transfer_weights=False)
    stages.claim(StageSpec(StageKind.PRUNE, {"number": 0}))  # gives the first sign of life
    asked = counted_requests(monkeypatch)
    spec = StageSpec(StageKind.PRUNE, {"number": 1})
    assert isinstance(stages.claim(spec), Claimed)
    of_stage = {request: count for request, count in asked.items() if spec.key in request}
    assert sum(of_stage.values()) == 3


def test_weights_that_others_have_trained_used_and_dropped_since_we_looked_stay_dropped(
    tmp_path: Path,
) -> None:
    """This driver has not looked since neither the weights nor the checkpoint were there."""
    grid = resolved(tmp_path, ratios=[0.2], gate_l1=1e-3)
    first, late = FakeLauncher(slots=1), FakeLauncher()
    other, controller = controller_of(grid, first), on_a_clock(grid, late, Clock())
    late.cluster, late.can_become = Capacity(cpus=0), Capacity(cpus=4)
    while StageKind.TRANSFER not in first.started_kinds():
        other.step()
    controller.step()
    assert drive(other).status is Status.DONE
    late.cluster = Capacity(cpus=4)
    assert drive(controller).status is Status.DONE
    assert late.started == []
