"""What is free on nodes: gangs whole or not at all, packed, and what would be needed in words."""

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


def left(free: FreeCapacity | None) -> list[tuple[int, int, int]]:
    assert free is not None
    return [(node.cpus, node.gpus, node.memory_bytes) for node in free.nodes]


def test_ranks_are_packed_on_as_few_nodes_as_possible() -> None:
    free = FreeCapacity.of(TWO_NODES)
    packed = free.without(Layout(ranks=4, cpus=1, gpus=1, memory_bytes=10))
    assert left(packed) == [(4, 0, 24), (8, 4, 64)]
    assert left(free.without(Layout(ranks=6, cpus=1, gpus=1))) == [(4, 0, 64), (6, 2, 64)]
    assert packed is not None
    assert left(packed.without(Layout(gpus=2))) == [(4, 0, 24), (7, 2, 64)]


def test_a_gang_fits_whole_or_not_at_all() -> None:
    free = FreeCapacity.of(TWO_NODES, [Layout(ranks=3, gpus=1)])
    assert free.without(Layout(ranks=6, gpus=1)) is None
    assert free.without(Layout(ranks=5, gpus=1)) is not None


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
    free = FreeCapacity.of(Capacity(2), [Layout(), Layout(ranks=2), Layout()])
    assert left(free) == [(0, 0, 0)]


def test_needs_and_offers_for_people() -> None:
    assert describe_needs(Layout(8, 4, 1, 30 * 10**9)) == "8 x (1 GPU, 4 CPUs, 30.0 GB of memory)"
    assert describe_needs(Layout()) == "1 CPU"
    two = Capacity.of([Capacity(8, 4, 64 * 10**9)] * 2)
    assert describe_capacity(two) == "8 GPUs, 16 CPUs, 128.0 GB of memory on 2 nodes"
    assert describe_capacity(Capacity(1)) == "1 CPU"


def test_what_the_user_says_of_memory_limits_what_was_found() -> None:
    cluster = Capacity.of([Capacity(6, 1, 50, 40), Capacity(2, 1, 0, 80)])
    assert (cluster.cpus, cluster.gpus) == (8, 2)
    assert (cluster.memory_bytes, cluster.gpu_memory_bytes) == (50, 40)
    limited = cluster.limited(80, 16)
    assert [node.memory_bytes for node in limited.nodes] == [50, 20], (
        "6 and 2 of 8 CPUs; the first has no more"
    )
    assert {limited.gpu_memory_bytes, *(node.gpu_memory_bytes for node in limited.nodes)} == {16}
    assert limited.memory_bytes == 70
    assert cluster.limited(None, None) == cluster
    assert Capacity(2, memory_bytes=50).limited(20, None) == Capacity(2, memory_bytes=20)
    assert Capacity(2).limited(20, None).memory_bytes == 20
