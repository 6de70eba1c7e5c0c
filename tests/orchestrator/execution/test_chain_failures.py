"""What becomes of a chain in which a stage fails, is lost, or that is told to go.

Nothing is trained here: what counts is the order of what is written.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.coordination.stage_log import Ticket
from orchestrator.execution.chain import run_chain
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.stage_results import StageResults
from orchestrator.store.store import Store
from tests.orchestrator.execution.chains import Cell, cell_of, train_quickly, weights_of
from trsp.evaluation import items

TRANSFER, PRUNE, EVALUATE = StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE
MEASURE = StageKind.MEASURE


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trsp.transfer.transfer", train_quickly)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "a store"))


@pytest.fixture
def cell(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Cell:
    return cell_of(tmp_path, tiny_llama, text_file)


# --- what fails -----------------------------------------------------------------


def fail(*_: Any, **__: Any) -> None:
    os.write(1, b"before it failed")  # not as Python: pytest has its hands on that
    raise AssertionError("deletion differs")


@pytest.mark.parametrize("place", ["_both_ways", "check_kept"])
def test_where_pruning_fails_stage_two_is_kept_whole(
    cell: Cell, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Before the layers are gone, and after."""
    apart = Store(str(tmp_path / "apart"))
    cell.run_one_by_one(apart, (TRANSFER,))
    monkeypatch.setattr(f"trsp.surgery.{place}", fail)
    failure = failure_of_pruning(cell, store)
    assert store.failures.history(cell[PRUNE].key) == (failure,)
    (log,) = Path(store.uri).rglob("log-*.txt")
    assert "before it failed" in log.read_text()
    assert weights_of(store, cell) == weights_of(apart, cell)


def test_where_a_checkpoint_cannot_be_kept_stage_two_is(
    cell: Cell, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: StageResults, spec: StageSpec) -> None:
        if spec.kind is PRUNE:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StageResults, "write_spec", full)
    assert failure_of_pruning(cell, store).kind is FailureKind.DISK_FULL


def failure_of_pruning(cell: Cell, store: Store) -> Failure:
    """Run a chain whose prune fails; return that, once nothing else has been seen to."""
    outcomes = cell.run(store)
    failure = outcomes[PRUNE]
    assert failure is not None
    assert outcomes == {TRANSFER: None, PRUNE: failure}
    assert store.stages.done(cell[TRANSFER].key)
    assert store.failures.history(cell[TRANSFER].key) == ()
    assert not list(Path(store.stages.uri(cell[PRUNE].key)).glob("files-*"))
    return failure


def test_a_failed_evaluation_leaves_what_came_before_it(
    cell: Cell, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trsp.evaluation.items.perplexity_item", fail)
    outcomes = cell.run(store, TRANSFER, PRUNE, EVALUATE, MEASURE)
    failure = outcomes[EVALUATE]
    assert failure is not None
    assert outcomes == {TRANSFER: None, PRUNE: None, EVALUATE: failure}
    assert store.stages.done(cell[PRUNE].key)
    assert store.failures.history(cell[EVALUATE].key) == (failure,)


def test_a_failed_training_ends_the_chain(
    cell: Cell, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trsp.transfer.transfer", fail)
    outcomes = cell.run(store)
    assert outcomes.keys() == {TRANSFER}
    assert outcomes[TRANSFER] is not None


def test_a_chain_that_is_told_to_go_ends_after_a_commit(cell: Cell, store: Store) -> None:
    told: list[str] = []
    outcomes = run_chain(cell.chain(store), leaving=lambda: bool(told), done=told.append)
    assert outcomes == {cell[TRANSFER].key: None, cell[PRUNE].key: None}
    assert store.failures.history(cell[EVALUATE].key) == ()


def test_a_chain_that_is_told_to_go_as_it_evaluates_goes_after_an_item_which_is_kept(
    tmp_path: Path, store: Store, tiny_llama: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has asked between two stages whether to go: SIGTERM ends its process no more."""
    texts = [{"name": name, "path": str(text_file)} for name in ("one", "two")]
    windows = ({"window_tokens": tokens, "max_windows": 2} for tokens in (16, 32))
    asked = [{"text": text, **each} for text, each in zip(texts, windows, strict=True)]
    cell = cell_of(tmp_path, tiny_llama, text_file, evaluation={"perplexity": asked})
    told: list[Any] = []
    compute = items.perplexity_item

    def tell(*given: Any) -> Any:
        told.append(compute(*given))
        return told[-1]

    monkeypatch.setattr(items, "perplexity_item", tell)
    outcomes = run_chain(cell.chain(store), leaving=lambda: bool(told))
    failure = outcomes[cell[EVALUATE].key]
    assert failure is not None
    assert (failure.kind, len(told)) == (FailureKind.PREEMPTED, 1)
    assert sum(store.stages.done(key) for key in cell.item_keys()) == 1


# --- what is lost ---------------------------------------------------------------


def take_over(store: Store, cell: Cell, kind: StageKind) -> Callable[[str], None]:
    """What takes a stage over as pruning begins, as another driver that thinks us dead does."""

    def computes(key: str) -> None:
        if key == cell[PRUNE].key:
            store.claims.drivers.is_alive = lambda *_: False  # type: ignore[method-assign]
            assert isinstance(store.claims.take(cell[kind].key, "another"), Ticket)

    return computes


def lost_in(cell: Cell, store: Store, kind: StageKind) -> dict[StageKind, FailureKind | None]:
    """Run a chain of which one stage is lost; return the kind of failure of each of its stages."""
    outcomes = run_chain(cell.chain(store), computes=take_over(store, cell, kind))
    return {
        each: outcomes[cell[each].key] and outcomes[cell[each].key].kind  # type: ignore[union-attr]
        for each in cell.stages
        if cell[each].key in outcomes
    }


def test_a_prune_that_was_lost_leaves_stage_two_whole(cell: Cell, store: Store) -> None:
    assert lost_in(cell, store, PRUNE) == {TRANSFER: None, PRUNE: FailureKind.CLAIM_LOST}
    assert store.stages.done(cell[TRANSFER].key)
    assert not list(Path(store.stages.uri(cell[PRUNE].key)).glob("files-*"))


def test_a_lost_stage_two_ends_the_chain_with_nothing_committed(cell: Cell, store: Store) -> None:
    assert lost_in(cell, store, TRANSFER) == {TRANSFER: FailureKind.CLAIM_LOST}
    for kind in (TRANSFER, PRUNE, EVALUATE):
        assert store.stages.stored(cell[kind].key) is None


def test_an_evaluation_that_was_lost_publishes_nothing(cell: Cell, store: Store) -> None:
    assert lost_in(cell, store, EVALUATE) == {
        TRANSFER: None,
        PRUNE: None,
        EVALUATE: FailureKind.CLAIM_LOST,
    }
