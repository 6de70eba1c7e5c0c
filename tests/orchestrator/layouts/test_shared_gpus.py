"""Small stages that share a GPU: which do, how parts are placed, what follows from no memory."""

from typing import Any

import pytest

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity, FreeCapacity, fits, most_ranks
from orchestrator.layouts.estimate import PARTS, USABLE_OF_PART, layout_for
from orchestrator.layouts.ladder import Limits, next_rung
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import Trains, work_of
from orchestrator.stages.stage_specs import StageKind
from tests.orchestrator.layouts.samples import B7, SMALL, stages
from trsp.architecture.shape import ModelShape
from trsp.config import EngineSettings

GB = 10**9
HALF, QUARTER, EIGHTH = (Layout(gpus=part) for part in (0.5, 0.25, 0.125))


def laid_out(kind: StageKind, shape: ModelShape, memory_gb: int = 80, **resources: Any) -> Layout:
    capacity = Capacity.of([Capacity(64, 8, 1000 * GB, memory_gb * GB)])
    found = layout_for(stages()[kind], shape, capacity, Resources(**resources))
    assert isinstance(found, Layout)
    return found


def left(free: FreeCapacity | None) -> list[tuple[int, tuple[float, ...]]]:
    assert free is not None
    return [(node.gpus, node.gpu_parts) for node in free.nodes]


# --- which stages share -----------------------------------------------------


@pytest.mark.parametrize("memory_gb", [16, 24, 40, 80])
@pytest.mark.parametrize("shape", [SMALL, B7])
@pytest.mark.parametrize("kind", [StageKind.EVALUATE, StageKind.DENSE, StageKind.RANKING])
def test_a_part_holds_the_estimate_and_the_next_smaller_would_not(
    kind: StageKind, shape: ModelShape, memory_gb: int
) -> None:
    layout = laid_out(kind, shape, memory_gb)
    device = peak(shape, work_of(stages()[kind]), layout).gpu
    assert device is not None
    shares = [part for part in PARTS if device.total <= USABLE_OF_PART * part * memory_gb * GB]
    expected = shares[0] if shares and layout.ranks == 1 and layout.gpus <= 1 else layout.whole_gpus
    assert layout.gpus == expected


def test_a_small_evaluation_has_a_part_and_a_training_that_fills_a_gpu_all_of_it() -> None:
    assert laid_out(StageKind.EVALUATE, SMALL).gpus == 0.125
    assert laid_out(StageKind.EVALUATE, SMALL, memory_gb=16).gpus == 0.25
    assert laid_out(StageKind.TRANSFER, B7, max_ranks=1).gpus == 1


def test_a_measurement_has_its_gpu_for_itself() -> None:
    assert laid_out(StageKind.MEASURE, SMALL).gpus == 1


def test_a_rank_of_a_gang_has_a_gpu_for_itself() -> None:
    layout = laid_out(StageKind.TRANSFER, SMALL, ranks=2)
    assert (layout.ranks, layout.gpus) == (2, 1)


def test_where_nothing_is_known_of_the_gpu_or_the_user_says_so_nothing_is_shared() -> None:
    assert laid_out(StageKind.EVALUATE, SMALL, memory_gb=0).gpus == 1
    assert laid_out(StageKind.EVALUATE, SMALL, share_gpus=False).gpus == 1


# --- how parts are placed ---------------------------------------------------


def test_parts_go_on_a_gpu_that_is_partly_taken_where_they_leave_the_least() -> None:
    """As Ray does it: the tightest of those that have enough left, else a whole one."""
    free = FreeCapacity.of(Capacity(9, 2), [HALF])
    assert left(free) == [(1, (0.5,))]
    assert left(free.without(QUARTER)) == [(1, (0.25,))]
    two = FreeCapacity.of(Capacity(9, 2), [HALF, Layout(gpus=0.75)])
    assert left(two) == [(0, (0.25, 0.5))]
    assert left(two.without(QUARTER)) == [(0, (0.5,))]


def test_a_gpu_that_is_partly_taken_takes_no_whole_stage() -> None:
    free = FreeCapacity.of(Capacity(9, 2), [EIGHTH])
    once = free.without(Layout(gpus=1))
    assert once is not None
    assert once.without(Layout(gpus=1)) is None
    assert free.without(Layout(gpus=2)) is None
    assert free.without(Layout(ranks=2, gpus=1)) is None


def test_as_many_parts_fit_as_make_whole_gpus() -> None:
    capacity = Capacity(99, 2)
    free = FreeCapacity.of(capacity, [EIGHTH] * 15)
    assert left(free) == [(0, (0.125,))]
    assert left(free.without(EIGHTH)) == [(0, ())]
    assert free.without(QUARTER) is None
    assert most_ranks(capacity, QUARTER) == 8


def test_a_part_goes_to_the_node_whose_gpu_is_partly_taken() -> None:
    two = Capacity.of([Capacity(4, 2), Capacity(9, 4)])
    free = FreeCapacity.of(two, [HALF])
    assert left(free) == [(2, ()), (3, (0.5,))]
    taken = FreeCapacity.of(Capacity.of([Capacity(4, 1, gpu_parts=(0.5,)), Capacity(9, 4)]))
    assert left(taken.without(HALF)) == [(1, ()), (4, ())]


def test_what_needs_no_gpu_keeps_away_from_nodes_that_have_one_free() -> None:
    free = FreeCapacity.of(Capacity.of([Capacity(64, 8), Capacity(4)]), [Layout(cpus=4)])
    assert [node.cpus for node in free.nodes] == [64, 0]
    assert [node.cpus for node in (free.without(Layout()) or free).nodes] == [63, 0]


def test_a_layout_of_a_type_goes_on_gpus_of_that_type_or_of_one_unknown() -> None:
    mixed = Capacity.of([Capacity(8, 8, gpu_type="A10G"), Capacity(8, 2, gpu_type="H100")])
    assert most_ranks(mixed, Layout(gpus=1, gpu_type="H100")) == 2
    assert most_ranks(mixed, Layout(gpus=1)) == 10
    assert not fits(mixed, Layout(gpus=0.5, gpu_type="B200"))
    assert fits(Capacity(8, 8), Layout(gpus=1, gpu_type="H100"))


# --- out of memory ----------------------------------------------------------


@pytest.mark.parametrize("trains", [Trains.WEIGHTS, Trains.ADAPTERS, Trains.NOTHING])
def test_out_of_memory_on_a_shared_gpu_first_gives_a_whole_one(trains: Trains) -> None:
    layout = Layout(gpus=0.25, engine=EngineSettings(zero_stage=0, micro_batch=4))
    rung = next_rung(layout, Limits(trains, blocks_per_step=4, max_ranks=8, max_gpus=8))
    assert rung == Layout(gpus=1, engine=layout.engine)


def test_what_its_host_does_not_hold_goes_on_a_gpu_at_last() -> None:
    limits = Limits(Trains.NOTHING, node_memory_bytes=15, max_gpus=2)
    layout: Layout | None = Layout(memory_bytes=10)
    seen = []
    while layout is not None:
        seen.append((layout.memory_bytes, layout.gpus))
        layout = next_rung(layout, limits)
    assert seen == [(10, 0), (15, 0), (15, 1), (15, 2)]
