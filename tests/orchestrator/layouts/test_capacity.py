"""Room on nodes: gangs whole or not at all, packed, and what would be needed in words."""

from orchestrator.layouts.capacity import (
    Capacity,
    FreeCapacity,
    describe_capacity,
    describe_needs,
    fits,
    most_ranks,
)
from orchestrator.layouts.layout import Layout

TWO_NODES = Capacity.of([Capacity(8, 4, 64), Capacity(8, 4, 64)])


def free(room: FreeCapacity | None) -> list[tuple[int, int, int]]:
    assert room is not None
    return [(node.cpus, node.gpus, node.memory_bytes) for node in room.nodes]


def test_ranks_are_packed_on_as_few_nodes_as_possible() -> None:
    room = FreeCapacity.of(TWO_NODES)
    packed = room.without(Layout(ranks=4, cpus=1, gpus=1, memory_bytes=10))
    assert free(packed) == [(4, 0, 24), (8, 4, 64)]
    assert free(room.without(Layout(ranks=6, cpus=1, gpus=1))) == [(4, 0, 64), (6, 2, 64)]
    assert packed is not None
    assert free(packed.without(Layout(gpus=2))) == [(4, 0, 24), (7, 2, 64)]


def test_a_gang_fits_whole_or_not_at_all() -> None:
    room = FreeCapacity.of(TWO_NODES, [Layout(ranks=3, gpus=1)])
    assert room.without(Layout(ranks=6, gpus=1)) is None
    assert room.without(Layout(ranks=5, gpus=1)) is not None


def test_the_devices_of_a_rank_are_of_one_node() -> None:
    assert fits(TWO_NODES, Layout(ranks=2, gpus=4))
    assert not fits(TWO_NODES, Layout(ranks=1, gpus=5))
    assert not fits(TWO_NODES, Layout(ranks=3, gpus=3))
    assert most_ranks(TWO_NODES, Layout(gpus=3)) == 2


def test_memory_counts_where_it_is_known() -> None:
    assert not fits(TWO_NODES, Layout(memory_bytes=65))
    assert fits(TWO_NODES, Layout(ranks=2, memory_bytes=64))
    assert fits(Capacity(8), Layout(memory_bytes=65))
    full = FreeCapacity.of(Capacity(8, 0, 64), [Layout(memory_bytes=64)])
    assert full.without(Layout(memory_bytes=2)) is None
    assert full.without(Layout()) is not None


def test_more_may_run_than_fits_after_a_node_was_lost() -> None:
    room = FreeCapacity.of(Capacity(2), [Layout(), Layout(ranks=2), Layout()])
    assert free(room) == [(0, 0, 0)]


def test_needs_and_offers_for_people() -> None:
    assert describe_needs(Layout(8, 4, 1, 30 * 10**9)) == "8 x (1 GPU, 4 CPUs, 30.0 GB of memory)"
    assert describe_needs(Layout()) == "1 CPU"
    assert (
        describe_capacity(Capacity.of([Capacity(8, 4, 64 * 10**9)] * 2))
        == "8 GPUs, 16 CPUs, 128.0 GB of memory on 2 nodes"
    )
    assert describe_capacity(Capacity(1)) == "1 CPU"
