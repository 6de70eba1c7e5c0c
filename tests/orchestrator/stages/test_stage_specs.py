"""Content keys hash what changes a result and nothing else; ``next_stage`` walks a cell to its end. No store, no process."""

from dataclasses import replace
from itertools import permutations, product
from typing import Any

import pytest

from orchestrator.grid.cells import Cell, ModelInfo, text_id
from orchestrator.stages.next_stages import Done, next_dense_stage, first_needed_stage, next_stage
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    evaluate_spec,
    measure_spec,
    prune_spec,
    ranking_spec,
    transfer_spec,
)
from tests.orchestrator.studies import MODEL, TEST, WIKI, DictResults, cell, stage_of, study, walk
from trsp.config import (
    PAPER_DRIFT,
    PAPER_GATES,
    BenchmarkSettings,
    BlockInfluenceSettings,
    CalibrationSettings,
    DriftSettings,
    EngineSettings,
    EvaluationSettings,
    GatesSettings,
    HealSettings,
    MeasurementSettings,
    NoTransfer,
    PerplexitySettings,
    RandomSettings,
    ReverseSettings,
)

ORDER = (4, 7, 2, 8, 5, 1, 3, 6)
LATER = [StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE, StageKind.MEASURE]
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
    StageKind.RANKING: "rank-2f51bf40f4c78a8aade8edbe",
    StageKind.TRANSFER: "transfer-ad8a9fb28b112b80e179a4b0",
    StageKind.PRUNE: "prune-af97d686c97ea1e4a4d64484",
    StageKind.EVALUATE: "evaluate-475f13eeb306abc8741fd9d6",
    StageKind.MEASURE: "measure-264e9df51dfc7a83ad858bbf",
    StageKind.DENSE: "dense-02c91c45e8d881d98d000519",
}
OTHER_TEXT = study().text_fingerprints | {text_id(WIKI): "sha256:another wiki"}


def trained(asked: Cell, given: Any = None, layers: tuple[int, ...] = (4, 7)) -> StageSpec:
    spec = transfer_spec(asked, given or study(), layers)
    assert spec is not None
    return spec


# --- keys ---------------------------------------------------------------------------------------------------------------


def test_golden_keys() -> None:
    """Nobody changes hashing without knowing: a new key means that every stored result of that kind is lost.

    Every setting is spelled out, so that tuning a default is not hashing differently. If you meant to (a new setting, say),
    write the new keys here.
    """
    asked = cell(selector=GatesSettings(**SPELLED_GATES), transfer=DriftSettings(**SPELLED_DRIFT))
    given = study(measurement=MeasurementSettings(**SPELLED_MEASUREMENT))
    keys = {
        stage.kind: stage.key
        for stage in (ranking_spec(asked, given), *cell_stages(asked, given, ORDER[:2]))
    }
    keys[StageKind.DENSE] = dense_spec(MODEL, given).key
    assert keys == GOLDEN


@pytest.mark.parametrize(
    "change",
    [
        {"ratio": 0.5},
        {"drift": 0.1},
        {"transfer": NoTransfer(), "drift": None},
        {"transfer": HealSettings(), "drift": None},
    ],
    ids=["ratio", "lambda_2", "no transfer", "heal"],
)
def test_cells_share_a_ranking(change: dict[str, Any]) -> None:
    assert ranking_spec(cell(**change), study()).key == ranking_spec(cell(), study()).key


@pytest.mark.parametrize(
    "change",
    [
        {"gate_l1": 1e-3},
        {"seed": 1},
        {"selector": GatesSettings(learning_rate=0.05)},
        {"selector": GatesSettings(protect_last=1)},
        {"model": replace(MODEL, fingerprint="sha256:other")},
    ],
    ids=["lambda_1", "seed", "rate", "protection", "model"],
)
def test_cells_do_not_share_a_ranking(change: dict[str, Any]) -> None:
    assert ranking_spec(cell(**change), study()).key != ranking_spec(cell(), study()).key


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "fp32"},
        {"text_fingerprints": OTHER_TEXT},
        {"calibration": CalibrationSettings(text=WIKI, blocks=5, block_tokens=32)},
        {"calibration": CalibrationSettings(text=WIKI, blocks=4, block_tokens=64)},
        {"calibration": CalibrationSettings(text=WIKI, blocks=4, block_tokens=32, bos="never")},
    ],
    ids=["precision", "text", "blocks", "block length", "bos"],
)
def test_what_is_read_is_part_of_rankings_and_transfers(change: dict[str, Any]) -> None:
    assert ranking_spec(cell(), study(**change)).key != ranking_spec(cell(), study()).key
    assert trained(cell(), study(**change)).key != trained(cell()).key


def test_a_ranking_does_not_know_its_depth() -> None:
    shallow, deep = ranking_spec(cell(), study(), depth=2), ranking_spec(cell(), study(), depth=7)
    assert shallow.key == deep.key
    assert (shallow.depth, deep.depth) == (2, 7)


@pytest.mark.parametrize(
    "selector",
    [BlockInfluenceSettings(), RandomSettings(), ReverseSettings()],
    ids=lambda s: s.name,
)
def test_only_gates_know_lambda_1(selector: Any) -> None:
    given = [
        ranking_spec(cell(selector=selector, gate_l1=value), study()).key
        for value in (None, 1e-3, 1e-2)
    ]
    assert len(set(given)) == 1


def test_selectors_that_read_no_text_or_seed_ignore_them() -> None:
    other = study(text_fingerprints=OTHER_TEXT, precision="fp32")
    for selector in (RandomSettings(), ReverseSettings()):
        assert (
            ranking_spec(cell(selector=selector), other).key
            == ranking_spec(cell(selector=selector), study()).key
        )
    reverse = [
        ranking_spec(cell(selector=ReverseSettings(), seed=seed), study()).key for seed in (0, 1)
    ]
    random = [
        ranking_spec(cell(selector=RandomSettings(), seed=seed), study()).key for seed in (0, 1)
    ]
    assert reverse[0] == reverse[1]
    assert random[0] != random[1]


def test_a_transfer_knows_the_set_of_layers_and_not_who_chose_them() -> None:
    keys = {trained(cell(), layers=order).key for order in permutations((2, 4, 7))}
    keys |= {trained(cell(selector=BlockInfluenceSettings(), gate_l1=None), layers=(2, 4, 7)).key}
    keys |= {trained(cell(gate_l1=0.1, ratio=0.3), layers=(2, 4, 7)).key}
    assert len(keys) == 1
    assert trained(cell(), layers=(2, 4, 8)).key not in keys


@pytest.mark.parametrize(
    "change",
    [
        {"drift": 0.1},
        {"seed": 1},
        {"transfer": DriftSettings(steps=7)},
        {"transfer": DriftSettings(norm="l1")},
    ],
)
def test_a_transfer_knows_its_settings(change: dict[str, Any]) -> None:
    assert trained(cell(**change)).key != trained(cell()).key


def test_healing_has_no_use_for_lambda_2() -> None:
    assert (
        trained(cell(transfer=HealSettings(), drift=None)).key
        == trained(cell(transfer=HealSettings(), drift=0.1)).key
    )


def test_preset_paper_spelled_out_is_the_same_work() -> None:
    gates = GatesSettings.model_validate({"preset": "paper"})
    spelled_gates = GatesSettings(**PAPER_GATES)
    assert (
        ranking_spec(cell(selector=gates), study()).key
        == ranking_spec(cell(selector=spelled_gates), study()).key
    )
    drift = DriftSettings.model_validate({"preset": "paper"})
    spelled_drift = DriftSettings(**PAPER_DRIFT)
    assert trained(cell(transfer=drift)).key == trained(cell(transfer=spelled_drift)).key
    assert ranking_spec(cell(selector=gates), study()).key != ranking_spec(cell(), study()).key


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


# --- walks --------------------------------------------------------------------------------------------------------------


def test_a_cell_goes_through_its_stages_in_order() -> None:
    stages = walk(cell(), study(), DictResults(), ORDER)
    assert [stage.kind for stage in stages] == [StageKind.RANKING, *LATER]
    transfer, prune, evaluate, measure = stages[1:]
    assert transfer.inputs["layers"] == prune.inputs["layers"] == sorted(ORDER[:2])
    assert prune.reads == (transfer.key,)
    assert evaluate.reads == measure.reads == (prune.key,)


def test_nothing_is_trained_where_nothing_is_to_be() -> None:
    plain = cell(transfer=NoTransfer(), drift=None)
    assert [stage.kind for stage in walk(plain, study(), DictResults(), ORDER)] == [
        StageKind.RANKING,
        *LATER[1:],
    ]
    quick = study(measurement=MeasurementSettings(protocol="none"))
    assert [stage.kind for stage in walk(plain, quick, DictResults(), ORDER)] == [
        StageKind.RANKING,
        StageKind.PRUNE,
        StageKind.EVALUATE,
    ]


def test_the_reference_is_scored_and_measured() -> None:
    results, kinds = DictResults(), []
    while not isinstance(stage := next_dense_stage(MODEL, study(), results), Done):
        kinds.append(stage.kind)
        results.finish(stage)
    assert kinds == [StageKind.DENSE, StageKind.MEASURE]


def test_a_small_ratio_goes_on_while_the_ranking_for_the_larger_runs() -> None:
    small, large = cell(ratio=0.2), cell(ratio=0.5)
    results = DictResults(orders={ranking_spec(small, study()).key: ORDER[:1]})
    assert next_stage(small, study(), results).kind is StageKind.RANKING  # type: ignore[union-attr]
    results.orders[ranking_spec(small, study()).key] = ORDER[:3]
    ahead, behind = next_stage(small, study(), results), next_stage(large, study(), results)
    assert isinstance(ahead, StageSpec)
    assert ahead.inputs["layers"] == sorted(ORDER[:2])
    assert isinstance(behind, StageSpec)
    assert (behind.kind, behind.depth) == (StageKind.RANKING, 5)


def test_two_lambdas_that_choose_the_same_layers_share_everything_after() -> None:
    one, other, results = cell(gate_l1=1e-3), cell(gate_l1=1e-2), DictResults()
    walk(one, study(), results, order=(4, 7, 2))
    assert [stage.kind for stage in walk(other, study(), results, order=(7, 4, 8))] == [
        StageKind.RANKING
    ]


def test_different_layers_share_only_the_measurement() -> None:
    one, other, results = cell(gate_l1=1e-3), cell(gate_l1=1e-2), DictResults()
    walk(one, study(), results, order=(4, 7))
    assert [stage.kind for stage in walk(other, study(), results, order=(4, 8))] == [
        StageKind.RANKING,
        *LATER[:3],
    ]


@pytest.mark.parametrize("kind", [StageKind.EVALUATE, StageKind.MEASURE, StageKind.PRUNE])
def test_what_is_deleted_alone_is_made_again_alone(kind: StageKind) -> None:
    results = DictResults()
    walk(cell(), study(), results, ORDER)
    lost = stage_of(kind, cell(), study(), results).key
    results.finished.discard(lost)
    assert [stage.key for stage in walk(cell(), study(), results, ORDER)] == [lost]


def test_dropped_weights_of_stage_two_are_not_trained_again_for_nothing() -> None:
    results = DictResults()
    walk(cell(), study(), results, ORDER)
    results.finished.discard(stage_of(StageKind.TRANSFER, cell(), study(), results).key)
    assert isinstance(next_stage(cell(), study(), results), Done)
    results.finished.discard(stage_of(StageKind.EVALUATE, cell(), study(), results).key)
    assert [stage.kind for stage in walk(cell(), study(), results, ORDER)] == [StageKind.EVALUATE]


def test_a_lost_checkpoint_is_wanted_even_where_its_readers_are_done_and_brings_its_weights_back() -> (
    None
):
    """The checkpoint is what the cell is for; with its weights dropped, stage two has to run again."""
    results = DictResults()
    walk(cell(), study(), results, ORDER)
    for kind in (StageKind.TRANSFER, StageKind.PRUNE):
        results.finished.discard(stage_of(kind, cell(), study(), results).key)
    assert [stage.kind for stage in walk(cell(), study(), results, ORDER)] == [
        StageKind.TRANSFER,
        StageKind.PRUNE,
    ]


def test_nothing_is_wanted_of_no_stages() -> None:
    assert isinstance(first_needed_stage((), DictResults()), Done)


def test_a_grid_ranks_once_a_model_and_lambda_1() -> None:
    """M * A rankings, not M * R * A * B; and every stage of the whole grid runs once."""
    models = [replace(MODEL, fingerprint=f"sha256:{i}") for i in range(2)]
    orders = {
        (model, l1): ORDER[i:] + ORDER[:i]
        for i, (model, l1) in enumerate(product(range(2), (1e-3, 1e-2)))
    }
    results, started = DictResults(), []
    axes = product(
        range(2), (0.5, 0.2, 0.3), (1e-3, 1e-2), (0.1, 0.2)
    )  # the deepest ratio asks first, as a controller does
    for model, ratio, l1, l2 in axes:
        started += walk(
            cell(model=models[model], ratio=ratio, gate_l1=l1, drift=l2),
            study(),
            results,
            orders[model, l1],
        )
    counts = {kind: sum(stage.kind is kind for stage in started) for kind in StageKind}
    assert len({stage.key for stage in started}) == len(started)
    assert counts[StageKind.RANKING] == 2 * 2
    assert (
        counts[StageKind.TRANSFER]
        == counts[StageKind.PRUNE]
        == counts[StageKind.EVALUATE]
        == 2 * 3 * 2 * 2
    )
    assert counts[StageKind.MEASURE] == 2 * 3  # one a model and shape
