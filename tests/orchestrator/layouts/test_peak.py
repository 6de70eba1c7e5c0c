"""The peak memory of a rank: what each setting moves.

Whether the figures are true: test_measured_memory.py.
"""

from typing import Any

from orchestrator.layouts.layout import Layout
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import Trains, Work
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
    plain = on_gpu(B7, zero_stage=3, micro_batch=2, rows=2)
    assert on_gpu(B7, zero_stage=3, micro_batch=1, rows=2).gpu.total < plain.gpu.total
    assert (
        on_gpu(B7, zero_stage=3, micro_batch=2, rows=2, activation_checkpointing=True).gpu.total
        < plain.gpu.total
    )
    offloaded = on_gpu(B7, zero_stage=3, micro_batch=2, rows=2, offload_optimizer="cpu")
    assert plain.gpu.total - offloaded.gpu.total > 12 * B7.params
    assert offloaded.host.total - plain.host.total >= 16 * B7.params
    both = on_gpu(
        B7, zero_stage=3, micro_batch=2, rows=2, offload_optimizer="cpu", offload_weights="cpu"
    )
    assert both.gpu.weights == 0
    assert both.host.weights >= 2 * B7.params


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
