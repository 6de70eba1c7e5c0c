"""How the efforts of stages compare: what is twice the work is twice the effort."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.scheduler.expected.effort import Effort, effort_of, evaluation_effort
from orchestrator.stages.stage_specs import (
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    prune_spec,
    ranking_spec,
    transfer_spec,
)
from tests.orchestrator.studies import MODEL, cell, study
from trsp.architecture.shape import model_shape
from trsp.config import (
    BenchmarkSettings,
    BlockInfluenceSettings,
    DriftSettings,
    EvaluationSettings,
    GatesSettings,
    HealSettings,
    LoraSettings,
    MeasurementSettings,
    RandomSettings,
    SlebSettings,
)

SHAPE = model_shape(
    {
        "model_type": "llama",
        "vocab_size": 1000,
        "dtype": "bfloat16",
        "hidden_size": 64,
        "intermediate_size": 176,
        "num_hidden_layers": 10,
        "num_attention_heads": 4,
    }
)
SHAPED = replace(MODEL, shape=SHAPE)
LAYERS = (1, 2)


def ranking(selector: Any, depth: int = 2) -> StageSpec:
    return ranking_spec(cell(model=SHAPED, selector=selector), study(), depth=depth)


def transfer(settings: Any) -> StageSpec:
    spec = transfer_spec(cell(model=SHAPED, transfer=settings), study(), LAYERS)
    assert spec is not None
    return spec


def operations(spec: StageSpec, done_rounds: int = 0) -> float:
    return effort_of(spec, SHAPED, done_rounds).operations


def test_a_training_is_its_tokens_by_the_parameters_that_each_passes_by_six() -> None:
    passed = 10 * SHAPE.layer_params + 1000 * 64
    settings = DriftSettings(steps=5, blocks_per_step=3)
    assert operations(transfer(settings)) == 6 * (5 * 3 * 32) * passed


def test_a_training_without_a_number_of_steps_is_one_pass_over_the_blocks() -> None:
    one_pass = transfer(DriftSettings(blocks_per_step=2))  # of 4 blocks
    assert operations(one_pass) == operations(transfer(DriftSettings(steps=2, blocks_per_step=2)))


def test_layers_that_are_left_out_and_weights_that_are_frozen_save_effort() -> None:
    whole = operations(transfer(DriftSettings()))
    assert operations(transfer(HealSettings())) < whole
    assert operations(transfer(DriftSettings(lora=LoraSettings()))) == pytest.approx(whole * 4 / 6)


def test_a_ranking_is_as_much_as_the_rounds_that_it_lacks() -> None:
    deep, gates = ranking(GatesSettings(), depth=3), GatesSettings()
    first, all_ = operations(ranking(gates, depth=1)), operations(deep)
    assert operations(deep, done_rounds=1) == pytest.approx(all_ - first)
    assert operations(deep, done_rounds=3) == 0
    assert first < all_ < 3 * first, "each round has a layer less"


def test_without_each_candidate_in_turn_is_about_half_a_pass_for_each() -> None:
    one_pass = operations(ranking(BlockInfluenceSettings()))
    candidates = operations(ranking(SlebSettings(), depth=1)) - one_pass
    assert 0.4 < candidates / (10 * one_pass) < 0.7


def test_an_order_that_looks_at_nothing_takes_no_effort() -> None:
    assert effort_of(ranking(RandomSettings()), SHAPED) == Effort()


def test_deleting_layers_is_reading_and_writing() -> None:
    effort = effort_of(prune_spec(cell(model=SHAPED), study(), LAYERS), SHAPED)
    stored = SHAPE.params * 2
    assert effort == Effort(0, 2 * stored - 2 * SHAPE.layer_params * 2)


def test_scoring_fewer_layers_is_less() -> None:
    spec = dense_spec(SHAPED, study())
    whole, pruned = (evaluation_effort(spec, SHAPED, removed) for removed in (0, 5))
    assert pruned.operations < whole.operations
    assert effort_of(spec, SHAPED) == whole


def scored(tasks: tuple[str, ...], limit: int | None) -> float:
    """The operations of scoring these tasks and no text."""
    evaluation = EvaluationSettings(benchmarks=BenchmarkSettings(tasks=tasks, limit=limit))
    spec = dense_spec(SHAPED, study(evaluation=evaluation))
    return evaluation_effort(spec, SHAPED, 0).operations


def test_a_task_without_a_limit_is_all_its_items() -> None:
    assert scored(("piqa",), None) == pytest.approx(scored(("piqa",), 1) * 1838)
    assert scored(("piqa",), 5000) == scored(("piqa",), None)


def test_a_task_of_long_items_is_more_work() -> None:
    assert scored(("sciq",), 100) > 5 * scored(("piqa",), 100)


def test_a_measurement_streams_the_weights_for_each_token_that_it_makes() -> None:
    protocol = MeasurementSettings(generate_new_tokens=8, generate_repeats=4)
    spec = measure_spec(SHAPED, study(measurement=protocol), LAYERS)
    assert spec is not None
    effort = effort_of(spec, SHAPED)
    assert effort.streamed_bytes == 5 * 8 * effort.stored_bytes


def test_a_model_whose_config_is_not_at_hand_is_a_middling_one() -> None:
    for spec in cell_stages(cell(), study(), LAYERS):
        effort = effort_of(spec, MODEL)
        assert effort.operations + effort.stored_bytes > 0
