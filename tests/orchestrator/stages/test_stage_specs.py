"""Content keys hash what changes a result, and nothing else; for trainings: test_training_specs."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.grid.cells import ModelInfo, text_id
from orchestrator.stages.stage_specs import (
    StageKind,
    cell_stages,
    dense_spec,
    evaluate_spec,
    measure_spec,
    prune_spec,
    ranking_spec,
)
from tests.orchestrator.studies import MODEL, ORDER, TEST, WIKI, cell, study
from trsp.config import (
    BenchmarkSettings,
    DriftSettings,
    EngineSettings,
    EvaluationSettings,
    GatesSettings,
    MeasurementSettings,
    NoTransfer,
    PerplexitySettings,
)

SPELLED_GATES: dict[str, Any] = {
    "placement": "residual",
    "train_weights": False,
    "weights_learning_rate": 2e-5,
    "reset_each_round": False,
    "learning_rate": 1e-2,
    "steps_per_round": 4,
    "blocks_per_step": 2,
    "average_steps": True,
    "protect_first": 1,
    "protect_last": 1,
}
SPELLED_DRIFT: dict[str, Any] = {
    "steps": 8,
    "blocks_per_step": 2,
    "learning_rate": 2e-5,
    "warmup_ratio": 0.03,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "norm": "l2",
    "drift_scale": "relative",
    "anneal": True,
    "anneal_ratio": 0.75,
}
SPELLED_MEASUREMENT: dict[str, Any] = {
    "protocol": "small",
    "prompt_batch": 1,
    "prompt_tokens": 128,
    "prompt_repeats": 5,
    "generate_batch": 2,
    "generate_prompt_tokens": 16,
    "generate_new_tokens": 16,
    "generate_repeats": 2,
}
GOLDEN = {
    StageKind.RANKING: "rank-5415412ab122c2ec837a1436",
    StageKind.TRANSFER: "transfer-da39c692aea817b8a0c56830",
    StageKind.PRUNE: "prune-46c7ec34bf2be75872bd6afa",
    StageKind.EVALUATE: "evaluate-3293c4add2f4078d1308e176",
    StageKind.MEASURE: "measure-264e9df51dfc7a83ad858bbf",
    StageKind.DENSE: "dense-2222df4d9907d86dc67e7694",
}


def test_golden_keys() -> None:
    """Nobody changes hashing without knowing.

    A new key means that every stored result of that kind is lost. Every setting is spelled out, so
    that tuning a default is not hashing differently. If you meant to (a new setting, say), write
    the new keys here.
    """
    asked = cell(selector=GatesSettings(**SPELLED_GATES), transfer=DriftSettings(**SPELLED_DRIFT))
    given = study(measurement=MeasurementSettings(**SPELLED_MEASUREMENT))
    keys = {
        stage.kind: stage.key
        for stage in (ranking_spec(asked, given), *cell_stages(asked, given, ORDER[:2]))
    }
    keys[StageKind.DENSE] = dense_spec(MODEL, given).key
    assert keys == GOLDEN


def test_a_moved_or_renamed_model_or_text_keeps_every_key() -> None:
    moved = ModelInfo("renamed", "/elsewhere/model", None, MODEL.fingerprint, MODEL.layers)
    wiki, test = (
        WIKI.model_copy(update={"path": "/new/wiki.jsonl"}),
        TEST.model_copy(update={"path": "/new/test.jsonl"}),
    )
    there = study(
        calibration=study().calibration.model_copy(update={"text": wiki}),
        evaluation=study().evaluation.model_copy(
            update={"perplexity": (PerplexitySettings(text=test, window_tokens=32),)}
        ),
        text_fingerprints={text_id(wiki): "sha256:wiki", text_id(test): "sha256:test"},
    )
    for here, elsewhere in zip(
        (
            ranking_spec(cell(), study()),
            *cell_stages(cell(), study(), (4, 7)),
            dense_spec(MODEL, study()),
        ),
        (
            ranking_spec(cell(model=moved), there),
            *cell_stages(cell(model=moved), there, (4, 7)),
            dense_spec(moved, there),
        ),
        strict=True,
    ):
        assert here.key == elsewhere.key
        assert here.locations != elsewhere.locations  # it is found where it lies now


def test_how_a_stage_is_computed_is_no_part_of_what() -> None:
    """Engine settings, batch sizes of evaluation and numbers of GPUs reach no inputs."""
    batched = study().evaluation.model_copy(
        update={
            "batch_size": 8,
            "benchmarks": BenchmarkSettings(tasks=("copa", "piqa"), batch_size=16),
        }
    )
    for spec, faster in zip(
        (*cell_stages(cell(), study(), (4, 7)), dense_spec(MODEL, study())),
        (
            *cell_stages(cell(), study(evaluation=batched), (4, 7)),
            dense_spec(MODEL, study(evaluation=batched)),
        ),
        strict=True,
    ):
        assert spec.key == faster.key
        assert not set(EngineSettings.model_fields) & set(
            str(spec.inputs).replace("'", " ").split()
        )


@pytest.mark.parametrize(
    "evaluation",
    [
        EvaluationSettings(perplexity=(PerplexitySettings(text=TEST, window_tokens=64),)),
        EvaluationSettings(
            perplexity=(PerplexitySettings(text=TEST, window_tokens=32, max_windows=3),)
        ),
        EvaluationSettings(benchmarks=BenchmarkSettings(tasks=("piqa", "copa"))),
    ],
)
def test_scores_know_how_they_are_taken_and_checkpoints_do_not(
    evaluation: EvaluationSettings,
) -> None:
    other = study(evaluation=evaluation)
    assert evaluate_spec(cell(), other, (4, 7)).key != evaluate_spec(cell(), study(), (4, 7)).key
    assert dense_spec(MODEL, other).key != dense_spec(MODEL, study()).key
    assert prune_spec(cell(), other, (4, 7)).key == prune_spec(cell(), study(), (4, 7)).key


def test_a_measurement_is_shared_by_checkpoints_of_one_shape_and_bound_to_its_hardware() -> None:
    def key(
        layers: tuple[int, ...],
        model: ModelInfo = MODEL,
        hardware: str = "cpu",
        reads: tuple[str, ...] = ("a",),
    ) -> str:
        spec = measure_spec(model, study(hardware=hardware), layers, reads)
        assert spec is not None
        return spec.key

    assert key((1, 2)) == key((3, 9)) == key((1, 2), reads=("b",))
    assert key((1, 2)) != key((1, 2, 3))
    assert key((1, 2)) != key((1, 2), hardware="H100")
    mixed = replace(MODEL, layer_types=("full", "sliding") * 5)
    assert key((0, 1), mixed) == key((4, 5), mixed)
    assert key((0, 2), mixed) != key((1, 3), mixed)


def test_no_measurement_without_a_protocol() -> None:
    assert measure_spec(MODEL, study(measurement=MeasurementSettings(protocol="none")), ()) is None


def test_auto_and_the_precision_that_it_means_are_one_key() -> None:
    model = replace(MODEL, stored_precision="bf16")

    def keys(precision: str) -> list[str]:
        asked, given = cell(model=model), study(precision=precision)
        specs = (ranking_spec(asked, given), *cell_stages(asked, given, (4, 7)))
        return [spec.key for spec in (*specs, dense_spec(model, given))]

    assert keys("auto") == keys("bf16") != keys("fp32")


def test_scores_of_texts_alone_keep_the_keys_that_they_had_before_items() -> None:
    texts = EvaluationSettings(perplexity=(PerplexitySettings(text=TEST, window_tokens=32),))
    given = study(evaluation=texts)
    untrained = cell(transfer=NoTransfer(), drift=None)
    assert evaluate_spec(untrained, given, (4, 7)).key == "evaluate-06cf6228964634679aa5ff90"
    assert dense_spec(MODEL, given).key == "dense-b6692bbd3f30e4c002041bbd"
