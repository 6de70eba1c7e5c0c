"""A chain of a cell's stages leaves what these leave one by one, whatever ends it and when."""

import gc
import threading
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.execution.chain import run_chain
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import FailureKind
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from tests.orchestrator.execution.chains import TRAINED, Cell, cell_of, left, weights_of
from tests.tiny import save_tiny
from trsp.distributed.device_lock import share_devices
from trsp.evaluation import items, measure

TRANSFER, PRUNE, EVALUATE = StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE
MEASURE = StageKind.MEASURE


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "a store"))


@pytest.fixture
def cell(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Cell:
    return cell_of(tmp_path, tiny_llama, text_file)


HEAL = {"name": "heal", **TRAINED}
LORA = {"name": "drift", **TRAINED, "lora": {"rank": 2, "alpha": 4}}
DRIFT = {"name": "drift", **TRAINED}
SLOW = [
    ("llama", "bf16", HEAL),
    ("llama", "fp32", LORA),
    ("gemma3_text", "fp32", DRIFT),
    ("mistral", "bf16", DRIFT),
    ("gpt2", "bf16", LORA),
    ("qwen2", "bf16", "none"),
]
CASES = [
    ("llama", "fp32", DRIFT),
    ("gemma3_text", "bf16", LORA),
    ("mistral", "fp32", "none"),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW),
]


@pytest.mark.parametrize(("family", "precision", "transfer"), CASES)
def test_a_chain_leaves_to_the_bit_what_separate_stages_leave(
    tmp_path: Path, text_file: Path, family: str, precision: str, transfer: Any
) -> None:
    model = save_tiny(family, tmp_path / "model")
    cell = cell_of(tmp_path, model, text_file, precision=precision, transfer=transfer)
    apart, together = Store(str(tmp_path / "apart")), Store(str(tmp_path / "together"))
    cell.run_one_by_one(apart)
    assert set(cell.run(together).values()) == {None}
    assert left(together, cell) == left(apart, cell)


def test_the_whole_weights_of_stage_two_are_not_written(cell: Cell, store: Store) -> None:
    told: list[str] = []
    run_chain(
        cell.chain(store, snapshot_every_steps=2),
        computes=lambda key: told.append(f"computes {key}"),
        done=lambda key: told.append(f"done {key}"),
    )
    keys = {kind: cell[kind].key for kind in (TRANSFER, PRUNE, EVALUATE)}
    assert told == [
        f"computes {keys[TRANSFER]}",
        f"computes {keys[PRUNE]}",
        f"done {keys[TRANSFER]}",
        f"done {keys[PRUNE]}",
        f"computes {keys[EVALUATE]}",
        f"done {keys[EVALUATE]}",
    ]
    folder = Path(store.stages.uri(keys[TRANSFER]))
    left = {path.name for path in folder.iterdir()}
    assert left == {"claims", "logs", "result.json", "spec.json"}
    stored = store.stages.stored(keys[TRANSFER])
    assert stored is not None
    assert (stored["files"], stored["dropped"]) == (None, True)
    assert not list(Path(store.uri).rglob("ranks"))


def test_weights_that_are_to_be_kept_are_written(cell: Cell, store: Store, tmp_path: Path) -> None:
    apart = Store(str(tmp_path / "apart"))
    cell.run_one_by_one(apart)
    assert set(cell.run(store, keep_weights=True).values()) == {None}
    assert left(store, cell) == left(apart, cell)
    for each in (store, apart):
        assert each.stages.done(cell[TRANSFER].key)
    assert weights_of(store, cell) == weights_of(apart, cell)


def test_a_chain_without_its_prune_keeps_the_weights(cell: Cell, store: Store) -> None:
    assert cell.run(store, TRANSFER) == {TRANSFER: None}
    assert store.stages.done(cell[TRANSFER].key)


def test_a_chain_that_is_told_to_go_while_it_trains_keeps_a_snapshot(
    cell: Cell, store: Store
) -> None:
    outcomes = run_chain(cell.chain(store), leaving=lambda: True)
    failure = outcomes[cell[TRANSFER].key]
    assert failure is not None
    assert failure.kind is FailureKind.PREEMPTED
    assert len(outcomes) == 1
    assert StoreSnapshots(store, cell[TRANSFER].key).latest() is not None


# --- devices --------------------------------------------------------------------


def test_a_measurement_in_a_chain_waits_for_others_and_not_for_its_own_chain(
    tmp_path: Path, tiny_llama: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRSP_LOCK_DIR", str(tmp_path / "locks"))
    cell = cell_of(tmp_path, tiny_llama, text_file, transfer="none")
    store, other = Store(str(tmp_path / "a store")), ExitStack()
    other.enter_context(share_devices(wait_s=0))
    leaves = threading.Timer(0.5, other.close)

    def computes(key: str) -> None:
        if key == cell[MEASURE].key:
            leaves.start()

    outcomes = run_chain(cell.chain(store, PRUNE, MEASURE), computes=computes)
    assert list(outcomes.values()) == [None, None]
    record = store.stages.result(cell[MEASURE].key)
    assert record is not None
    assert "others computed" not in record["noise"]
    leaves.join()


def test_nothing_that_an_evaluation_left_is_in_memory_while_its_chain_measures(
    tmp_path: Path, store: Store, tiny_llama: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what only refers to itself, which Python would free at some later time."""
    cell = cell_of(tmp_path, tiny_llama, text_file, transfer="none")
    left_over: list[weakref.ref[Any]] = []
    found: list[Any] = []
    compute = items.perplexity_item

    def leave(*given: Any) -> Any:
        tensor = torch.zeros(1)
        vars(tensor)["itself"] = tensor
        left_over.append(weakref.ref(tensor))
        return compute(*given)

    def look(*_: Any) -> None:
        found.extend(each() for each in left_over)
        raise RuntimeError("it was looked")

    monkeypatch.setattr(items, "perplexity_item", leave)
    monkeypatch.setattr(measure, "measure", look)
    gc.disable()
    try:
        cell.run(store, PRUNE, EVALUATE, MEASURE)
    finally:
        gc.enable()
    assert found == [None]
