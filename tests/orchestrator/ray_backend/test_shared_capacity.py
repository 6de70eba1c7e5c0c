"""What of a cluster is there for us beside other jobs."""

import pytest

from orchestrator.layouts.capacity import Capacity
from orchestrator.ray_backend.cluster import capacity_of, held_by_others

GB = 10**9


def node(name: str, **resources: float) -> dict[str, object]:
    return {"NodeID": name, "Resources": resources}


def test_what_others_hold_is_not_there_for_us_and_is_there_in_all() -> None:
    nodes = [node("a", CPU=8, GPU=4, memory=64 * GB), node("b", CPU=8, GPU=4, memory=64 * GB)]
    others = {"a": {"CPU": 2, "GPU": 4, "memory": 10.0 * GB}, "b": {}}
    capacity = capacity_of(nodes, others, with_gpus=True)
    assert [(n.cpus, n.gpus, n.memory_bytes // GB) for n in capacity.nodes] == [
        (6, 0, 54),
        (8, 4, 64),
    ]
    assert (capacity.in_all.cpus, capacity.in_all.gpus) == (16, 8)


def test_without_others_the_cluster_is_whole() -> None:
    capacity = capacity_of([node("a", CPU=8)], {"a": {"CPU": 0.0}}, with_gpus=True)
    assert capacity.whole is None
    assert capacity.in_all is capacity


@pytest.mark.parametrize(("held", "parts"), [(0.25, (0.75,)), (0.3, (0.625,)), (0.9, ())])
def test_of_a_gpu_that_others_hold_a_part_of_there_is_the_rest(
    held: float, parts: tuple[float, ...]
) -> None:
    """Else of two drivers on one GPU the second would wait until the first has nothing to do."""
    capacity = capacity_of([node("a", CPU=8, GPU=2)], {"a": {"CPU": 0.5, "GPU": held}}, True)
    assert (capacity.cpus, capacity.gpus, capacity.gpu_parts) == (7, 1, parts)


def test_rays_ten_thousandths_take_no_device_away() -> None:
    capacity = capacity_of([node("a", CPU=8)], {"a": {"CPU": 1e-4}}, with_gpus=True)
    assert capacity.cpus == 8


def test_memory_that_others_hold_whole_is_none_and_not_unknown() -> None:
    capacity = capacity_of([node("a", CPU=8, memory=GB)], {"a": {"memory": 2.0 * GB}}, True)
    assert capacity.nodes == (Capacity(8, 0, 1),)


def test_what_others_hold_is_asked_of_the_autoscaler_beside_ours() -> None:
    nodes = [node("a", CPU=8, GPU=4), node("b", CPU=8, GPU=4), node("c", CPU=8)]
    others = {"a": {"CPU": 2, "GPU": 4}, "c": {"CPU": 1}}
    capacity = capacity_of(nodes, others, with_gpus=True)
    assert held_by_others(capacity) == [{"CPU": 2, "GPU": 4}, {"CPU": 1}]


def test_of_nodes_that_come_others_hold_nothing() -> None:
    there = capacity_of([node("a", CPU=8)], {"a": {"CPU": 6}}, with_gpus=True)
    grown = there.grown([Capacity(4)])
    assert (grown.cpus, grown.in_all.cpus) == (6, 12)
    assert len(grown.nodes) == len(grown.in_all.nodes) == 2
