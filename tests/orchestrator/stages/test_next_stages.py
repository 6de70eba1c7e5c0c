"""``next_stage`` walks a cell to its end, and asks for nothing twice. No store, no process."""

from dataclasses import replace
from itertools import product

import pytest

from orchestrator.stages.next_stages import Done, first_needed_stage, next_dense_stage, next_stage
from orchestrator.stages.stage_specs import SCHEDULED, StageKind, StageSpec, ranking_spec
from tests.orchestrator.studies import MODEL, ORDER, DictResults, cell, stage_of, study, walk
from trsp.config import MeasurementSettings, NoTransfer

LATER = [StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE, StageKind.MEASURE]


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


def test_a_lost_checkpoint_is_needed_though_its_readers_are_done_and_so_are_its_weights() -> None:
    """The checkpoint is what the cell is for; without stage two's weights, that runs again."""
    results = DictResults()
    walk(cell(), study(), results, ORDER)
    for kind in (StageKind.TRANSFER, StageKind.PRUNE):
        results.finished.discard(stage_of(kind, cell(), study(), results).key)
    assert [stage.kind for stage in walk(cell(), study(), results, ORDER)] == [
        StageKind.TRANSFER,
        StageKind.PRUNE,
    ]


def test_nothing_is_needed_of_no_stages() -> None:
    assert isinstance(first_needed_stage((), DictResults()), Done)


def test_a_grid_ranks_once_per_model_and_lambda_1() -> None:
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
    counts = {kind: sum(stage.kind is kind for stage in started) for kind in SCHEDULED}
    assert len({stage.key for stage in started}) == len(started)
    assert counts[StageKind.RANKING] == 2 * 2
    assert (
        counts[StageKind.TRANSFER]
        == counts[StageKind.PRUNE]
        == counts[StageKind.EVALUATE]
        == 2 * 3 * 2 * 2
    )
    assert counts[StageKind.MEASURE] == 2 * 3  # one per model and shape
