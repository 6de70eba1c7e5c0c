"""Peak memory of a rank, and the cheapest layout that fits. Whether the figures are true: tests/test_memory.py."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.grid.cells import Cell, ModelInfo, Study, text_id
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.estimate import USABLE, DoesNotFit, layout_for
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import Trains, Work, work_of
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    ranking_spec,
)
from tests.orchestrator.sample_grids import grid, model
from trsp.architecture.shape import ModelShape, model_shape
from trsp.config import (
    DriftSettings,
    EngineSettings,
    GatesSettings,
    LoraSettings,
    RandomSettings,
    Selector,
)

GB = 10**9


def llama(**settings: Any) -> ModelShape:
    return model_shape(
        {"model_type": "llama", "vocab_size": 32000, "dtype": "bfloat16", **settings}
    )


SMALL = llama(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
)
B7 = llama(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32)
B70 = llama(
    hidden_size=8192,
    intermediate_size=28672,
    num_hidden_layers=80,
    num_attention_heads=64,
    num_key_value_heads=8,
    vocab_size=128256,
)


def stages(
    selector: Selector | None = None, transfer: DriftSettings | None = None, tokens: int = 2048
) -> dict[StageKind, StageSpec]:
    """All stages of a cell."""
    calibration = {
        "text": {"name": "wiki", "path": "wiki.jsonl"},
        "blocks": 16,
        "block_tokens": tokens,
    }
    found = grid(calibration=calibration)
    texts = [found.calibration.text, *(each.text for each in found.evaluation.perplexity)]
    names = {text_id(text): text_id(text) for text in texts}
    study = Study(found.calibration, found.evaluation, found.measurement, "auto", "", names)
    info: ModelInfo = model()
    cell = Cell(
        info,
        selector or GatesSettings(),
        0.2,
        1e-3,
        transfer or DriftSettings(blocks_per_step=16),
        1.0,
        0,
    )
    specs = [ranking_spec(cell, study), *cell_stages(cell, study, (1, 2)), dense_spec(info, study)]
    return {spec.kind: spec for spec in specs}


TRAIN = stages()[StageKind.TRANSFER]
GATES = stages()[StageKind.RANKING]


def gpus(count: int, memory_gb: int = 80, hosts_gb: int = 1000) -> Capacity:
    """Nodes of up to 8 GPUs."""
    nodes = max(1, count // 8)
    return Capacity.of([Capacity(64, count // nodes, hosts_gb * GB, memory_gb * GB)] * nodes)


def laid_out(spec: StageSpec, shape: ModelShape, capacity: Capacity, **resources: Any) -> Layout:
    found = layout_for(spec, shape, capacity, Resources(**resources))
    assert isinstance(found, Layout), found
    return found


# --- peaks --------------------------------------------------------------------------------------------------------------


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


def test_what_stages_compute() -> None:
    kinds = {kind: work_of(spec) for kind, spec in stages().items()}
    assert {
        kind: work.trains for kind, work in kinds.items() if work.trains is not Trains.NOTHING
    } == {
        StageKind.RANKING: Trains.ADAPTERS,
        StageKind.TRANSFER: Trains.WEIGHTS,
    }
    assert (
        kinds[StageKind.TRANSFER].tokens,
        kinds[StageKind.TRANSFER].rows,
        kinds[StageKind.EVALUATE].tokens,
    ) == (
        2048,
        16,
        16,
    )
    assert (
        work_of(stages(GatesSettings(train_weights=True))[StageKind.RANKING]).trains
        is Trains.WEIGHTS
    )
    assert work_of(stages(RandomSettings())[StageKind.RANKING]).trains is Trains.NOTHING
    lora = work_of(stages(transfer=DriftSettings(lora=LoraSettings()))[StageKind.TRANSFER])
    assert (lora.trains, lora.lora) == (Trains.ADAPTERS, LoraSettings())


# --- layouts ------------------------------------------------------------------------------------------------------------


def test_the_fewest_ranks_without_offload() -> None:
    """16 bytes a parameter and more: 7B does not fit one GPU of 80 GB, 70B takes a few nodes; gates need far less."""
    assert laid_out(GATES, B7, gpus(8)).ranks == 1
    train = laid_out(TRAIN, B7, gpus(8))
    assert (train.ranks, train.gpus, train.engine.zero_stage, train.engine.offload_optimizer) == (
        2,
        1,
        3,
        "none",
    )
    assert laid_out(TRAIN, B70, gpus(64)).ranks == 32
    assert laid_out(GATES, B70, gpus(64)).ranks == 4


def test_offload_where_there_are_too_few() -> None:
    train = laid_out(TRAIN, B7, gpus(1))
    assert (train.ranks, train.engine.offload_optimizer, train.engine.offload_weights) == (
        1,
        "cpu",
        "none",
    )
    assert train.memory_bytes > 16 * B7.params


def test_it_fits_what_it_was_given_and_says_so_twice() -> None:
    for shape in (SMALL, B7, B70):
        for spec in (TRAIN, GATES):
            for capacity in (gpus(1, hosts_gb=4000), gpus(8), gpus(64), gpus(8, 24)):
                found = layout_for(spec, shape, capacity, Resources())
                assert found == layout_for(spec, shape, capacity, Resources())
                if isinstance(found, Layout):
                    device = peak(shape, work_of(spec), found).gpu
                    assert device is not None
                    assert device.total <= USABLE * capacity.gpu_memory_bytes


def test_without_gpus_memory_is_the_hosts() -> None:
    layout = laid_out(TRAIN, SMALL, Capacity(8, memory_bytes=16 * GB))
    assert (layout.ranks, layout.gpus, layout.engine) == (1, 0, EngineSettings(zero_stage=0))
    assert 12 * SMALL.params < layout.memory_bytes < 16 * GB
    two = Capacity.of([Capacity(4, memory_bytes=100 * GB)] * 2)
    assert laid_out(TRAIN, B7, two).ranks == 2  # 130 GB are on no node


def test_refusals_say_what_would_be_enough() -> None:
    alone = layout_for(TRAIN, B70, gpus(1), Resources())
    assert isinstance(alone, DoesNotFit)
    assert "GB of memory at the least" in alone.reason
    assert "1 GPU of 80 GB: 32 would do" in alone.reason
    host = layout_for(TRAIN, B7, Capacity(8, memory_bytes=16 * GB), Resources())
    assert isinstance(host, DoesNotFit)
    assert "16.0 GB of memory" in host.reason
    small = layout_for(stages()[StageKind.EVALUATE], B70, gpus(1), Resources())
    assert isinstance(small, DoesNotFit)
    assert "more of them in one node" in small.reason


def test_one_process_takes_as_many_gpus_as_its_weights_need() -> None:
    for kind in (StageKind.EVALUATE, StageKind.PRUNE, StageKind.DENSE, StageKind.MEASURE):
        layout = laid_out(stages()[kind], B70, gpus(16))
        assert (layout.ranks, layout.gpus) == (1, 2)
    assert laid_out(stages(RandomSettings())[StageKind.RANKING], B7, gpus(8)).gpus == 1


def test_what_the_user_says_is_taken_as_it_is() -> None:
    engine = EngineSettings(zero_stage=1, micro_batch=2)
    found = layout_for(TRAIN, B70, gpus(8), Resources(ranks=2, cpus_per_rank=4), engine)
    assert isinstance(found, Layout)
    assert replace(found, memory_bytes=0) == Layout(2, 4, 1, 0, engine)
    assert laid_out(TRAIN, B7, gpus(8), ranks=4).ranks == 4
    assert laid_out(TRAIN, B7, gpus(8), max_ranks=1).engine.offload_optimizer == "cpu"
    assert laid_out(TRAIN, SMALL, gpus(8), use_gpus=False).gpus == 0
    fixed = layout_for(TRAIN, B7, gpus(8), Resources(), EngineSettings(zero_stage=3))
    assert isinstance(fixed, Layout)
    assert (fixed.ranks, fixed.engine) == (2, EngineSettings(zero_stage=3))


def test_nothing_is_known_of_the_model() -> None:
    assert layout_for(TRAIN, None, gpus(8), Resources(ranks=2)) == Layout(2, gpus=1)
    assert layout_for(stages()[StageKind.PRUNE], None, gpus(8), Resources(ranks=2)) == Layout(
        1, gpus=1
    )


@pytest.mark.parametrize("spec", stages().values(), ids=lambda spec: spec.kind)
def test_a_memory_that_is_not_known_limits_nothing(spec: StageSpec) -> None:
    for capacity in (Capacity(8), Capacity(8, gpus=1)):
        layout = laid_out(spec, B70, capacity)
        assert layout.ranks == 1
        assert layout.memory_bytes > 0
