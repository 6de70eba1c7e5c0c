"""Real stages on a tiny model, in this process: what each reads and leaves."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.stages.stage_specs import (
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    prune_spec,
    ranking_spec,
    transfer_spec,
)
from orchestrator.store.failures import FailureKind
from orchestrator.store.store import Store
from tests.orchestrator.execution.conftest import LAYERS, SELECTORS, RunStage
from tests.tiny_grid import tiny_grid
from trsp.evaluation.hardware import cpu_name
from trsp.records import CheckpointRecord, EvaluationRecord, MeasurementRecord, TransferRecord


def done(store: Store, spec: StageSpec) -> dict[str, object]:
    """Return the record that a stage has committed."""
    record = store.stages.result(spec.key)
    assert record is not None
    return record


@pytest.mark.parametrize("number", range(len(SELECTORS)), ids=SELECTORS)
def test_a_ranking_is_published_and_continued(
    resolved: Resolved, store: Store, run: RunStage, number: int
) -> None:
    cell = resolved.cells[number]
    assert cell.selector.name == SELECTORS[number]
    shallow, deep = (ranking_spec(cell, resolved.study, depth=depth) for depth in (2, 4))
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


@pytest.mark.parametrize("number", [1, 2], ids=SELECTORS[1:])
def test_an_order_that_looks_at_nothing_reads_no_weights(
    resolved: Resolved, store: Store, run: RunStage, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*args: object, **kwargs: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("trsp.checkpoints.checkpoint.load_model", load)
    spec = ranking_spec(resolved.cells[number], resolved.study)
    assert run(spec) is None
    assert len(store.rankings.rounds(spec.key)) == spec.depth


def test_pruning_without_training_deletes_the_layers_and_nothing_else(
    resolved: Resolved, store: Store, run: RunStage, tiny_llama: Path
) -> None:
    spec = prune_spec(resolved.cells[0], resolved.study, LAYERS)
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


def test_scores_of_a_checkpoint_and_of_the_model(
    resolved: Resolved, store: Store, run: RunStage
) -> None:
    _, evaluate, measure = cell_stages(resolved.cells[0], resolved.study, LAYERS)[-3:]
    for spec in (prune_spec(resolved.cells[0], resolved.study, LAYERS), evaluate, measure):
        assert run(spec) is None
    pruned = EvaluationRecord.model_validate(done(store, evaluate)).scores["perplexity/tiny"].value
    speed = MeasurementRecord.model_validate(done(store, measure))
    assert speed.hardware == cpu_name(torch.get_num_threads())
    assert speed.prompt_latency_ms > 0
    dense = dense_spec(resolved.models["tiny-llama"], resolved.study)
    assert run(dense) is None
    record = done(store, dense)
    whole = EvaluationRecord.model_validate(record["evaluation"]).scores["perplexity/tiny"].value
    assert CheckpointRecord.model_validate(record["checkpoint"]).layers == 6
    assert pruned != whole
    assert pruned > 1
    assert whole > 1


def test_the_dense_model_is_measured_from_where_it_lies(
    resolved: Resolved, store: Store, run: RunStage
) -> None:
    spec = measure_spec(resolved.models["tiny-llama"], resolved.study, ())
    assert spec is not None
    assert run(spec) is None
    assert MeasurementRecord.model_validate(done(store, spec)).prompt_tokens_per_s > 0


@pytest.mark.slow
def test_stage_two_hands_its_weights_to_pruning(
    tmp_path: Path, tiny_llama: Path, text_file: Path, store: Store, run: RunStage
) -> None:
    trained = resolve(load_grid(tiny_grid(tmp_path / "b", tiny_llama, text_file)), hardware="cpu")
    transfer = transfer_spec(trained.cells[0], trained.study, LAYERS)
    assert transfer is not None
    prune = prune_spec(trained.cells[0], trained.study, LAYERS)
    missing = run(prune)
    assert missing is not None
    assert (missing.error, missing.kind) == ("StoreError", FailureKind.BAD_INPUT)
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
