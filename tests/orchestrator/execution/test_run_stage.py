"""Real stages on a tiny model, in this process: what each reads and leaves, and what becomes of an error."""

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orchestrator.execution.run_stage import RankError, StageTask, run_rank, run_task
from orchestrator.grid.schema import load_grid
from orchestrator.layouts.layout import Layout
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    prune_spec,
    ranking_spec,
    transfer_spec,
)
from orchestrator.store.failure_log import FailureLog
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.rank_reports import RankReport
from orchestrator.store.store import Store
from tests.tiny_grid import tiny_grid
from trsp.records import CheckpointRecord, EvaluationRecord, MeasurementRecord, TransferRecord

LAYERS = (1, 4)
SELECTORS = ["block_influence", "random", "reverse"]
Run = Callable[[StageSpec], Failure | None]


@pytest.fixture
def asked(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Resolved:
    """One cell a selector, without training, in a folder with a blank in its name."""
    grid = tiny_grid(
        tmp_path / "a grid",
        tiny_llama,
        text_file,
        selectors=SELECTORS,
        ratios=0.33,
        transfer="none",
    )
    return resolve(load_grid(grid), hardware="cpu")


@pytest.fixture
def store(asked: Resolved) -> Store:
    return Store(asked.grid.storage.store)


@pytest.fixture
def run(store: Store) -> Run:
    return lambda spec: run_task(StageTask(spec, store.uri, Layout()))


def done(store: Store, spec: StageSpec) -> dict[str, object]:
    record = store.stages.result(spec.key)
    assert record is not None
    return record


# --- what stages leave ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(SELECTORS)), ids=SELECTORS)
def test_a_ranking_is_published_and_continued(
    asked: Resolved, store: Store, run: Run, number: int
) -> None:
    cell = asked.cells[number]
    assert cell.selector.name == SELECTORS[number]
    shallow, deep = (ranking_spec(cell, asked.study, depth=depth) for depth in (2, 4))
    assert run(shallow) is None
    first = store.rankings.rounds(shallow.key)
    assert [record.round for record in first] == [0, 1]
    written = sorted(
        (path, path.stat().st_mtime_ns)
        for path in Path(store.stages.uri(shallow.key), "rounds").iterdir()
    )
    assert run(deep) is None
    assert store.rankings.rounds(deep.key)[:2] == first
    assert len({record.layer for record in store.rankings.rounds(deep.key)}) == 4
    assert all(path.stat().st_mtime_ns == when for path, when in written)
    assert Path(store.stages.uri(deep.key), "spec.json").is_file()


def test_pruning_without_training_deletes_the_layers_and_nothing_else(
    asked: Resolved, store: Store, run: Run, tiny_llama: Path
) -> None:
    spec = prune_spec(asked.cells[0], asked.study, LAYERS)
    assert run(spec) is None
    record = CheckpointRecord.model_validate(done(store, spec))
    assert record.removed_layers == LAYERS
    assert record.layers == 4
    assert record.seconds > 0
    with store.stages.local_files(spec.key) as folder:
        kept = load_file(folder / "model.safetensors")
        assert "1, 4" in (folder / "README.md").read_text()
        assert (folder / "tokenizer.json").is_file()
    whole = load_file(tiny_llama / "model.safetensors")
    for position, layer in enumerate((0, 2, 3, 5)):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert torch.equal(kept[name.format(position)], whole[name.format(layer)])
    assert (
        len([name for name in kept if "layers." in name])
        == len([name for name in whole if "layers." in name]) * 4 // 6
    )


def test_scores_of_a_checkpoint_and_of_the_model(asked: Resolved, store: Store, run: Run) -> None:
    _, evaluate, measure = cell_stages(asked.cells[0], asked.study, LAYERS)[-3:]
    for spec in (prune_spec(asked.cells[0], asked.study, LAYERS), evaluate, measure):
        assert run(spec) is None
    pruned = EvaluationRecord.model_validate(done(store, evaluate)).scores["perplexity/tiny"].value
    speed = MeasurementRecord.model_validate(done(store, measure))
    assert speed.hardware == "cpu"
    assert speed.prompt_latency_ms > 0
    dense = dense_spec(asked.models["tiny-llama"], asked.study)
    assert run(dense) is None
    record = done(store, dense)
    whole = EvaluationRecord.model_validate(record["evaluation"]).scores["perplexity/tiny"].value
    assert CheckpointRecord.model_validate(record["checkpoint"]).layers == 6
    assert pruned != whole
    assert pruned > 1
    assert whole > 1


def test_the_dense_model_is_measured_from_where_it_lies(
    asked: Resolved, store: Store, run: Run
) -> None:
    spec = measure_spec(asked.models["tiny-llama"], asked.study, ())
    assert spec is not None
    assert run(spec) is None
    assert MeasurementRecord.model_validate(done(store, spec)).prompt_tokens_per_s > 0


@pytest.mark.slow
def test_stage_two_hands_its_weights_to_pruning(
    tmp_path: Path, tiny_llama: Path, text_file: Path, store: Store, run: Run
) -> None:
    trained = resolve(load_grid(tiny_grid(tmp_path / "b", tiny_llama, text_file)), hardware="cpu")
    transfer = transfer_spec(trained.cells[0], trained.study, LAYERS)
    assert transfer is not None
    prune = prune_spec(trained.cells[0], trained.study, LAYERS)
    missing = run(prune)
    assert missing is not None
    assert (missing.error, missing.final) == ("StoreError", True)
    assert run(transfer) is None
    record = TransferRecord.model_validate(done(store, transfer))
    assert record.layers == LAYERS
    assert len(record.lm_loss) == len(record.drift) == 3
    assert run(prune) is None
    with (
        store.stages.local_files(transfer.key) as before,
        store.stages.local_files(prune.key) as after,
    ):
        weights, kept = (
            load_file(before / "model.safetensors"),
            load_file(after / "model.safetensors"),
        )
    name = "model.layers.{}.mlp.up_proj.weight"
    assert torch.equal(kept[name.format(1)], weights[name.format(2)])
    original = load_file(tiny_llama / "model.safetensors")
    assert not torch.equal(kept[name.format(1)], original[name.format(2)]), "it was trained"


# --- errors ---------------------------------------------------------------------------------------------------------------


def test_an_error_of_the_users_is_recorded_with_the_cure_and_not_retried(
    asked: Resolved, store: Store, run: Run
) -> None:
    spec = prune_spec(asked.cells[0], asked.study, LAYERS)
    gone = replace(
        spec, locations={"model": {"name": "x", "source": "/no/such/folder", "revision": None}}
    )
    failure = run(gone)
    assert failure is not None
    assert failure.final
    assert "/no/such/folder" in failure.message
    assert "Traceback" in failure.details
    assert store.failures.history(spec.key) == (failure,)
    assert not store.stages.done(spec.key)


def test_other_errors_are_worth_another_attempt(
    asked: Resolved, run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("80 GB wanted")

    monkeypatch.setattr("trsp.surgery.remove_layers_verified", out_of_memory)
    spec = prune_spec(asked.cells[0], asked.study, LAYERS)
    failure = run(spec)
    assert failure is not None
    assert not failure.final
    assert (failure.error, failure.message) == ("OutOfMemoryError", "80 GB wanted")
    assert list(Path(store.stages.uri(spec.key)).glob("files-*")) == []


def test_an_error_without_words_still_says_its_name(
    asked: Resolved, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("trsp.surgery.remove_layers_verified", fail)
    failure = run(prune_spec(asked.cells[0], asked.study, LAYERS))
    assert failure is not None
    assert failure.message == "AssertionError"


_NOISY = """
import os, subprocess, sys
from orchestrator.execution import run_stage
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.layouts.layout import Layout

def noisy(rank):
    print("from python")
    print("to stderr", file=sys.stderr)
    subprocess.run(["echo", "from a child"])
    os.write(2, b"from C" + bytes([0xff]))
    print("x" * 50_000)
    print("the end")
    raise RuntimeError("boom")

run_stage.STAGES = {StageKind.PRUNE: noisy}
failure = run_stage.run_task(run_stage.StageTask(StageSpec(StageKind.PRUNE, {}), sys.argv[1], Layout()))
print("after", failure.error)
"""


def test_the_end_of_what_a_failed_stage_printed_is_kept_and_nothing_of_it_is_shown(
    tmp_path: Path,
) -> None:
    """In a process of its own: pytest has its hands on the descriptors of this one."""
    ended = subprocess.run(
        [sys.executable, "-c", _NOISY, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env=dict(os.environ),
    )
    assert ended.stdout == "after RuntimeError\n"
    assert ended.stderr == ""
    (log,) = tmp_path.rglob("log-*.txt")
    text = log.read_text()
    assert len(text) <= 20_000 + 500, "the output, after a few lines that say what happened"
    assert text.index("the end") < text.rindex("RuntimeError: boom")


def test_output_from_any_source_is_captured(tmp_path: Path) -> None:
    quiet = _NOISY.replace("50_000", "5")
    subprocess.run(
        [sys.executable, "-c", quiet, str(tmp_path)],
        check=True,
        capture_output=True,
        env=dict(os.environ),
    )
    (log,) = tmp_path.rglob("log-*.txt")
    for line in ("from python", "to stderr", "from a child", "from C", "the end", "boom"):
        assert line in log.read_text()


# --- ranks ----------------------------------------------------------------------------------------------------------------


def test_a_rank_says_what_it_failed_with_and_records_nothing(
    asked: Resolved, store: Store, tmp_path: Path
) -> None:
    spec = prune_spec(asked.cells[0], asked.study, LAYERS)
    gone = replace(
        spec, locations={"model": {"name": "x", "source": "/no/such/folder", "revision": None}}
    )
    with pytest.raises(RankError) as raised:
        run_rank(StageTask(gone, store.uri), rank=3)
    said = pickle.loads(pickle.dumps(raised.value)).failure
    assert (said.ranks, said.error, said.kind) == ((3,), "InvalidInputError", FailureKind.BAD_INPUT)
    assert "Traceback" in said.tail
    assert store.failures.history(spec.key) == ()
    assert list(tmp_path.rglob("output.txt")) == []


def test_a_store_that_is_full_does_not_hide_what_happened(
    asked: Resolved, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trsp.checkpoints.checkpoint.save_checkpoint", full)
    monkeypatch.setattr(FailureLog, "record", full)
    failure = run(prune_spec(asked.cells[0], asked.study, LAYERS))
    assert failure is not None
    assert failure.kind is FailureKind.DISK_FULL


_HANGS = """
import sys, time
from orchestrator.execution import run_stage
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.execution.stage_task import StageTask

def hangs(rank):
    print("it began")
    with rank.training() as progress:
        progress.beat()
        time.sleep(60)

run_stage.STAGES = {StageKind.TRANSFER: hangs}
run_stage.run_task(StageTask(StageSpec(StageKind.TRANSFER, {}), sys.argv[1], hang_timeout_s=0.5))
"""


def test_a_process_without_steps_is_ended_and_leaves_its_stacks(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-u", "-c", _HANGS, str(tmp_path)], check=False, timeout=50
    )
    assert ended.returncode == 1
    store = Store(str(tmp_path))
    report = RankReport(store, StageSpec(StageKind.TRANSFER, {}).key, "0")
    said = report.failure()
    assert said is not None
    assert (said.kind, said.message) == (FailureKind.HUNG, "no step for 0.5 s")
    assert said.tail.index("it began") < said.tail.index("in hangs")
    report.remove()
    assert list(tmp_path.rglob("*.txt")) == []


def test_a_process_that_is_killed_leaves_its_output(tmp_path: Path) -> None:
    dies = _HANGS.replace("time.sleep(60)", "import os; os.abort()")
    assert (
        subprocess.run(
            [sys.executable, "-u", "-c", dies, str(tmp_path)], check=False, timeout=50
        ).returncode
        < 0
    )
    report = RankReport(Store(str(tmp_path)), StageSpec(StageKind.TRANSFER, {}).key, "0")
    assert report.failure() is None
    assert "it began" in report.tail()
