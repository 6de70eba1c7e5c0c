"""``resources.share``: never more than that at once, wherever it lies."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import (
    Capacity,
    FreeCapacity,
    describe_capacity,
    fits,
    most_ranks,
)
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.share import planned_capacity, within

NODE = Capacity(cpus=16, gpus=8, memory_bytes=64)
CLUSTER = Capacity.of([NODE] * 4)
GPU = Layout(gpus=1)


def shared(share: Any, capacity: Capacity = CLUSTER, cluster: Capacity | None = None) -> Capacity:
    return within(Resources.model_validate({"share": share}), capacity, cluster)


def totals(capacity: Capacity) -> tuple[int, int, int]:
    return capacity.cpus, capacity.gpus, capacity.memory_bytes


@pytest.mark.parametrize("share", [0.25, "25%", "1/4", "8 GPUs", {"gpus": 8}, {"part": 0.25}])
def test_a_share_as_people_write_it(share: Any) -> None:
    assert totals(shared(share)) == (16, 8, 64)


@pytest.mark.parametrize(
    "share", [0, -0.5, 1.5, "150%", True, "8 CPUs", "a lot", [1], {}, {"part": 0.5, "gpus": 1}]
)
def test_what_is_no_share_is_refused_with_what_is(share: Any) -> None:
    with pytest.raises(ValueError, match=r"no share of a cluster; write .* 25%.* 8 GPUs"):
        shared(share)


def test_without_a_share_there_is_no_limit() -> None:
    assert within(Resources(), CLUSTER) == CLUSTER


def test_a_share_may_lie_on_any_nodes_and_ends_with_its_number() -> None:
    free: FreeCapacity | None = FreeCapacity.of(shared("6 GPUs"))
    for _ in range(2):
        assert free is not None
        free = free.without(Layout(ranks=1, gpus=3))
    assert free is not None
    assert free.without(GPU) is None


def test_what_runs_counts_against_the_share_though_it_fits_no_node_now() -> None:
    """Two stages of 6 GPUs run; for us there are two nodes of 5 and one of 8."""
    nodes = [Capacity(16, gpus) for gpus in (5, 5, 8)]
    capacity = shared("12 GPUs", Capacity.of(nodes), cluster=Capacity.of([Capacity(16, 8)] * 3))
    taken = [Layout(gpus=6), Layout(gpus=6)]
    assert FreeCapacity.of(capacity, taken).without(GPU) is None


def test_a_share_is_of_what_the_cluster_can_become() -> None:
    """Else a gang that waits for nodes would find that most of those that came are not its own."""
    head = Capacity.of([Capacity(cpus=4)])
    assert shared("25%", head).cpus == 1
    assert totals(shared("25%", head, cluster=CLUSTER))[:2] == (4, 0)


def test_the_share_of_a_cluster_that_others_use_is_of_all_of_it() -> None:
    left = replace(Capacity.of([NODE]), whole=CLUSTER)
    capacity = shared("50%", left)
    assert totals(capacity) == (16, 8, 64)
    assert totals(capacity.in_all)[:2] == (32, 16)


def test_no_rank_and_no_gang_is_larger_than_the_share() -> None:
    capacity = shared("4 GPUs")
    assert most_ranks(capacity, GPU) == 4
    assert max(node.gpus for node in capacity.machines) == 4
    assert not fits(capacity, Layout(ranks=5, gpus=1))


def test_a_part_is_rounded_down_but_not_by_the_way_numbers_are_stored() -> None:
    hundred = Capacity(cpus=100)
    assert shared(0.29, hundred).cpus == 29
    assert shared(0.299, hundred).cpus == 29


def test_the_limit_is_said() -> None:
    assert describe_capacity(shared("8 GPUs", Capacity(16, 16))).endswith(
        "8 GPUs, 8 CPUs within resources.share"
    )


def test_memory_and_share_both_limit() -> None:
    resources = Resources.model_validate({"share": 0.5, "memory": 100})
    capacity = within(resources, Capacity(cpus=4, memory_bytes=1000))
    assert totals(capacity) == (2, 0, 100)


@pytest.mark.parametrize(("share", "gpus"), [("8 GPUs", 8), ("25%", 64)])
def test_a_plan_counts_on_no_more_gpus_than_the_share_says(share: str, gpus: int) -> None:
    resources = {"share": share, "use_gpus": True, "max_ranks": 64}
    assert planned_capacity(Resources.model_validate(resources)).gpus == gpus
