"""The peak memory of a rank: what each setting moves.

Whether the figures are true: test_measured_memory.py.
"""

from typing import Any

import pytest

from orchestrator.layouts.layout import Layout
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import TrainedParts, Trains, Work
from orchestrator.stages.stage_specs import StageKind
from tests.orchestrator.layouts.samples import B7
from trsp.architecture.shape import ModelShape
from trsp.config import EngineSettings, LoraSettings


def on_gpu(
    shape: ModelShape, trains: Trains = Trains.WEIGHTS, ranks: int = 1, rows: int = 1, **engine: Any
) -> Any:
    work = Work(StageKind.TRANSFER, trains, 2048, rows)
    return peak(shape, work, Layout(ranks, gpus=1, engine=EngineSettings(**engine)))


def test_every_zero_stage_shares_out_more() -> None:
    totals = [on_gpu(B7, ranks=8, zero_stage=stage).gpu.total for stage in range(4)]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] > 18 * B7.params > totals[3]


def test_what_each_setting_moves() -> None:
    plain = on_gpu(B7, zero_stage=3, micro_batch=2, rows=4)
    assert on_gpu(B7, zero_stage=3, micro_batch=1, rows=4).gpu.total < plain.gpu.total
    assert (
        on_gpu(B7, zero_stage=3, micro_batch=2, rows=4, activation_checkpointing=True).gpu.total
        < plain.gpu.total
    )
    offloaded = on_gpu(B7, zero_stage=3, micro_batch=2, rows=4, offload_optimizer="cpu")
    assert plain.gpu.total - offloaded.gpu.total > 12 * B7.params
    assert offloaded.host.total - plain.host.total >= 16 * B7.params
    both = on_gpu(
        B7, zero_stage=3, micro_batch=2, rows=4, offload_optimizer="cpu", offload_weights="cpu"
    )
    assert both.gpu.weights == 0
    assert both.host.weights >= 2 * B7.params


def test_a_copy_of_a_snapshot_is_a_ranks_share_of_12_bytes_a_trained_number() -> None:
    """Less what loading took of the host, which is free again by then."""
    for stage in range(3):
        found = on_gpu(B7, ranks=2, zero_stage=stage).snapshot_bytes
        assert found == pytest.approx((12 / 2 - 2) * B7.params, rel=1e-6)
    assert on_gpu(B7, ranks=2, zero_stage=3).snapshot_bytes == 12 / 2 * B7.params


def test_what_lies_on_the_host_or_does_not_train_has_no_such_copy() -> None:
    assert on_gpu(B7, zero_stage=2, offload_optimizer="cpu").snapshot_bytes == 0
    assert on_gpu(B7, Trains.ADAPTERS, zero_stage=0).snapshot_bytes == 0
    work = Work(StageKind.TRANSFER, Trains.WEIGHTS, 2048)
    assert peak(B7, work, Layout()).snapshot_bytes == 0


def test_fp32_sums_of_bf16_gradients_are_shared_out_as_the_gradients_are() -> None:
    """Where a step has one micro-batch there is no sum; otherwise it takes 4 bytes instead of 2."""
    one, four = (on_gpu(B7, ranks=8, zero_stage=3, rows=rows).gpu.gradients for rows in (8, 32))
    assert (one, four) == (2 * B7.params // 8, 4 * B7.params // 8)
    in_fp32 = Work(StageKind.TRANSFER, Trains.WEIGHTS, 2048, 4, precision="fp32")
    found = peak(B7, in_fp32, Layout(gpus=1, engine=EngineSettings(zero_stage=3))).gpu
    assert found is not None
    assert found.gradients == 4 * B7.params


def test_without_zero_the_fp32_sums_need_no_copies_in_the_step() -> None:
    one, four = (on_gpu(B7, zero_stage=0, rows=rows).gpu.total for rows in (1, 4))
    assert four < one


def test_healing_counts_nothing_for_layers_that_are_gone() -> None:
    """But their weights: 18 bytes per parameter in the step, 12 of masters and moments, 6 of
    gradients and their copies."""
    layout = Layout(gpus=1, engine=EngineSettings(zero_stage=0))
    all_layers, healed = (
        peak(B7, Work(StageKind.TRANSFER, Trains.WEIGHTS, 2048, bypassed=gone), layout).gpu
        for gone in (0, 8)
    )
    assert all_layers is not None
    assert healed is not None
    assert healed.weights == all_layers.weights
    assert all_layers.total - healed.total == 18 * 8 * B7.layer_params


def test_healed_adapters_are_those_of_what_stays() -> None:
    layout = Layout(gpus=1, engine=EngineSettings(zero_stage=0))
    works = (
        Work(StageKind.TRANSFER, Trains.ADAPTERS, 2048, lora=LoraSettings(), bypassed=gone)
        for gone in (0, 16)
    )
    whole, half = (TrainedParts(B7, work, layout) for work in works)
    assert 2 * half.trained == whole.trained
    assert half.all_params == whole.all_params


def test_frozen_weights_have_no_optimizer_and_keep_fewer_activations() -> None:
    trained, gates = on_gpu(B7, zero_stage=0).gpu, on_gpu(B7, Trains.ADAPTERS, zero_stage=0).gpu
    assert (gates.optimizer, gates.gradients, gates.live, gates.buffers) == (0, 0, 0, 0)
    assert gates.weights == trained.weights == 2 * B7.params
    work = Work(StageKind.TRANSFER, Trains.ADAPTERS, 2048, lora=LoraSettings(rank=16))
    adapters = peak(B7, work, Layout(gpus=1, engine=EngineSettings(zero_stage=0))).gpu
    assert adapters is not None
    assert gates.total < adapters.total < trained.total / 3


def test_more_rows_than_a_rank_has_are_never_taken_at_once() -> None:
    assert on_gpu(B7, ranks=2, rows=2, zero_stage=3, micro_batch=8) == on_gpu(
        B7, ranks=2, rows=2, zero_stage=3
    )
