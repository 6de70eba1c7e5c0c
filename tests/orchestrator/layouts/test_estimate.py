"""The cheapest layout that fits a cluster, and refusals that say what would be enough."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.estimate import USABLE, DoesNotFit, layout_for
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import work_of
from orchestrator.stages.stage_specs import StageKind, StageSpec
from tests.orchestrator.layouts.samples import B7, B70, SMALL, stages
from trsp.architecture.shape import ModelShape
from trsp.config import (
    DriftSettings,
    EngineSettings,
    GatesSettings,
    RandomSettings,
    SlebSettings,
)

GB = 10**9
TRAIN = stages()[StageKind.TRANSFER]
GATES = stages()[StageKind.RANKING]


def gpus(count: int, memory_gb: int = 80, hosts_gb: int = 1000) -> Capacity:
    """Return a cluster of ``count`` GPUs on nodes of up to 8."""
    nodes = max(1, count // 8)
    return Capacity.of([Capacity(64, count // nodes, hosts_gb * GB, memory_gb * GB)] * nodes)


def laid_out(spec: StageSpec, shape: ModelShape, capacity: Capacity, **resources: Any) -> Layout:
    found = layout_for(spec, shape, capacity, Resources(**resources))
    assert isinstance(found, Layout), found
    return found


def test_the_fewest_ranks_without_offload() -> None:
    """A training takes 16 bytes per parameter and more, gates far less.

    So 7B does not fit one GPU of 80 GB, and 70B takes a few nodes.
    """
    assert laid_out(GATES, B7, gpus(8)).ranks == 1
    train = laid_out(TRAIN, B7, gpus(8))
    assert (train.ranks, train.gpus) == (2, 1)
    assert (train.engine.zero_stage, train.engine.offload_optimizer) == (2, "none")
    assert laid_out(TRAIN, B70, gpus(64)).ranks == 32
    assert laid_out(GATES, B70, gpus(64)).ranks == 4


def test_hosts_with_room_keep_some_for_copies_of_snapshots() -> None:
    large, small = laid_out(TRAIN, B7, gpus(8)), laid_out(TRAIN, B7, gpus(8, hosts_gb=60))
    assert large.memory_bytes - small.memory_bytes == pytest.approx(4 * B7.params, rel=1e-6)
    assert replace(small, memory_bytes=large.memory_bytes) == large, "and nothing else changes"


def test_offload_where_there_are_too_few() -> None:
    train = laid_out(TRAIN, B7, gpus(1))
    engine = train.engine
    assert (train.ranks, engine.offload_optimizer, engine.offload_weights) == (1, "cpu", "none")
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
    for kind in (StageKind.EVALUATE, StageKind.DENSE, StageKind.MEASURE):
        layout = laid_out(stages()[kind], B70, gpus(16))
        assert (layout.ranks, layout.gpus) == (1, 2)


def test_deleting_layers_and_an_order_that_looks_at_nothing_take_no_gpu() -> None:
    for spec in (stages()[StageKind.PRUNE], stages(RandomSettings())[StageKind.RANKING]):
        assert laid_out(spec, B7, gpus(8), use_gpus=True).gpus == 0
    assert laid_out(stages(SlebSettings())[StageKind.RANKING], B7, gpus(8)).gpus > 0


def test_what_no_host_holds_is_pruned_on_gpus() -> None:
    layout = laid_out(stages()[StageKind.PRUNE], B70, gpus(16, hosts_gb=100))
    assert (layout.ranks, layout.gpus) == (1, 2)


def test_an_order_that_looks_at_nothing_takes_no_memory_for_weights() -> None:
    layout = laid_out(stages(RandomSettings())[StageKind.RANKING], B70, gpus(8))
    assert layout.memory_bytes < GB


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
    assert (fixed.ranks, fixed.engine) == (4, EngineSettings(zero_stage=3))


@pytest.mark.parametrize(("tokens", "rows"), [(256, 3), (512, 2), (2048, 1)])
def test_on_cpus_short_blocks_share_a_pass_through_frozen_weights_alone(
    tokens: int, rows: int
) -> None:
    selector = GatesSettings(blocks_per_step=3)
    specs = stages(selector, DriftSettings(blocks_per_step=3), tokens=tokens)
    ranked = laid_out(specs[StageKind.RANKING], SMALL, gpus(8), use_gpus=False)
    assert ranked.engine.micro_batch == rows
    trained = laid_out(specs[StageKind.TRANSFER], SMALL, gpus(8), use_gpus=False)
    assert trained.engine.micro_batch == 1


def test_nothing_is_known_of_the_model() -> None:
    assert layout_for(TRAIN, None, gpus(8), Resources(ranks=2)) == Layout(2, gpus=1)
    prune = stages()[StageKind.PRUNE]
    assert layout_for(prune, None, gpus(8), Resources(ranks=2)) == Layout(1)


@pytest.mark.parametrize("spec", stages().values(), ids=lambda spec: spec.kind)
def test_a_memory_that_is_not_known_limits_nothing(spec: StageSpec) -> None:
    for capacity in (Capacity(8), Capacity(8, gpus=1)):
        layout = laid_out(spec, B70, capacity)
        assert layout.ranks == 1
        assert layout.memory_bytes > 0
