"""Whether a plan asks the store: where it may, or where it is told to."""

from pathlib import Path

import pytest

from orchestrator.costs import planned as module
from orchestrator.costs.planned import planned_cost
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import ranking_spec
from orchestrator.store.claims import Ticket
from orchestrator.store.store import Store
from tests.orchestrator.costs.planned import TWO_CORES, of_7b
from trsp.errors import StoreError
from trsp.records import RoundRecord

LACKS = "store '/nowhere' fails: it is away"


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolved:
    """A grid all of whose ranking is done, and whose keys are at hand."""
    resolved = of_7b(storage={"store": str(tmp_path)})
    monkeypatch.setattr(module, "resolve", lambda _: resolved)
    monkeypatch.setattr(module, "store_is_at_hand", lambda _: True)
    spec = ranking_spec(resolved.cells[0], resolved.study)
    for number in range(8):
        record = RoundRecord(round=number, layer=number, seconds=1.0)
        Store(str(tmp_path)).rankings.publish(Ticket(spec.key, 0, "x"), record)
    return resolved


def rankings_left(grid: Resolved, held: bool | None) -> int:
    kinds = planned_cost(grid, TWO_CORES, held=held).kinds
    return next(each.left for each in kinds if each.kind == "rank")


@pytest.mark.parametrize("held", [True, None])
def test_what_the_store_holds_is_not_left(grid: Resolved, held: bool | None) -> None:
    assert rankings_left(grid, held) == 0


def test_nobody_asks_the_store_who_was_told_not_to(grid: Resolved) -> None:
    assert rankings_left(grid, held=False) == 1


def test_nobody_asks_a_store_unasked_that_is_not_at_hand(
    grid: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "store_is_at_hand", lambda _: False)
    assert rankings_left(grid, held=None) == 1
    assert rankings_left(grid, held=True) == 0


def refuse(*_: object) -> None:
    raise StoreError(LACKS)


def test_a_store_that_cannot_be_read_is_left_out_and_named(
    grid: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.costs.held.cost_in", refuse)
    cost = planned_cost(grid, TWO_CORES)
    assert cost.notes == (f"what the store holds is not counted: {LACKS}",)
    assert cost.left > 0


def test_a_store_that_is_to_be_asked_and_cannot_be_is_an_error(
    grid: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.costs.held.cost_in", refuse)
    with pytest.raises(StoreError, match="it is away"):
        planned_cost(grid, TWO_CORES, held=True)
