"""What becomes of an error in a stage, alone and as one rank of a gang."""

import errno
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator.execution.run_stage import RankError, StageTask, run_rank
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import dense_spec, prune_spec, ranking_spec
from orchestrator.store.failure_log import FailureLog
from orchestrator.store.failures import FailureKind
from orchestrator.store.logs.stage_logs import attempt_logs, read_log
from orchestrator.store.store import Store
from tests.orchestrator.execution.conftest import LAYERS, RunStage


def test_an_error_of_the_users_is_recorded_with_the_cure_and_not_retried(
    resolved: Resolved, store: Store, run: RunStage
) -> None:
    spec = prune_spec(resolved.cells[0], resolved.study, LAYERS)
    gone = replace(
        spec, locations={"model": {"name": "x", "source": "/no/such/folder", "revision": None}}
    )
    failure = run(gone)
    assert failure is not None
    assert failure.kind is FailureKind.BAD_INPUT
    assert "/no/such/folder" in failure.message
    assert "Traceback" in failure.details
    assert store.failures.history(spec.key) == (failure,)
    assert not store.stages.done(spec.key)


def test_other_errors_are_worth_another_attempt(
    resolved: Resolved, run: RunStage, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("80 GB wanted")

    monkeypatch.setattr("trsp.surgery.remove_layers_verified", out_of_memory)
    spec = prune_spec(resolved.cells[0], resolved.study, LAYERS)
    failure = run(spec)
    assert failure is not None
    assert failure.kind is not FailureKind.BAD_INPUT
    assert (failure.error, failure.message) == ("OutOfMemoryError", "80 GB wanted")
    assert list(Path(store.stages.uri(spec.key)).glob("files-*")) == []


def test_an_error_without_words_still_says_its_name(
    resolved: Resolved, run: RunStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("trsp.surgery.remove_layers_verified", fail)
    failure = run(prune_spec(resolved.cells[0], resolved.study, LAYERS))
    assert failure is not None
    assert failure.message == "AssertionError"


def test_a_store_that_is_full_does_not_hide_what_happened(
    resolved: Resolved, run: RunStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trsp.checkpoints.checkpoint.save_checkpoint", full)
    monkeypatch.setattr(FailureLog, "record", full)
    failure = run(prune_spec(resolved.cells[0], resolved.study, LAYERS))
    assert failure is not None
    assert failure.kind is FailureKind.DISK_FULL


def test_a_rank_says_what_it_failed_with_and_records_nothing(
    resolved: Resolved, store: Store, tmp_path: Path
) -> None:
    spec = prune_spec(resolved.cells[0], resolved.study, LAYERS)
    gone = replace(
        spec, locations={"model": {"name": "x", "source": "/no/such/folder", "revision": None}}
    )
    with pytest.raises(RankError) as raised:
        run_rank(StageTask(gone, store.uri), rank=3)
    failure = pickle.loads(pickle.dumps(raised.value)).failure
    assert (failure.ranks, failure.error, failure.kind) == (
        (3,),
        "InvalidInputError",
        FailureKind.BAD_INPUT,
    )
    assert "Traceback" in failure.tail
    assert store.failures.history(spec.key) == ()
    assert list(tmp_path.rglob("output.txt")) == []


def test_a_text_that_broke_since_it_was_looked_up_is_bad_input(
    resolved: Resolved, run: RunStage, text_file: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(text_file.read_bytes()[:200] + b"\xff\n")
    spec = ranking_spec(resolved.cells[0], resolved.study)
    texts = {name: {"name": "t", "path": str(broken)} for name in spec.locations["texts"]}
    failure = run(replace(spec, locations={**spec.locations, "texts": texts}))
    assert failure is not None
    assert failure.kind is FailureKind.BAD_INPUT
    assert "broken.jsonl, line 1, is not UTF-8" in failure.message


def test_a_stage_that_went_well_leaves_its_log(
    resolved: Resolved, store: Store, run: RunStage
) -> None:
    spec = prune_spec(resolved.cells[0], resolved.study, LAYERS)
    assert run(spec) is None
    (log,) = attempt_logs(store, spec.key)
    lines = read_log(store, spec.key, log.ranks[0]).splitlines()
    assert f" {spec.key}, attempt 0, rank 0 of 1, on " in lines[0]
    assert lines[-1].endswith(" done")


def test_an_evaluation_says_in_its_log_how_far_it_is(
    resolved: Resolved, store: Store, run: RunStage
) -> None:
    spec = dense_spec(resolved.cells[0].model, resolved.study)
    assert run(spec) is None
    (log,) = attempt_logs(store, spec.key)
    assert "window 6 of 6" in read_log(store, spec.key, log.ranks[0])
