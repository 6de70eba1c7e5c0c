"""The most that a cluster can become, by what is there and what its autoscaler says."""

from orchestrator.layouts.capacity import Capacity, fits
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.growth.node_types import NodeType
from orchestrator.ray_backend.potential import REFRESH_S, Growth, unknown_nodes

HEAD = Capacity(4, memory_bytes=16)
GPU_TYPE = NodeType("gpu", {"CPU": 96, "GPU": 8}, 4)
COMING = Capacity(96, 8)
THERE = Capacity(96, 8, 10**12, 40 * 10**9, gpu_type="A100")


def growth(*types: NodeType) -> Growth:
    return Growth(read=lambda: types)


def cluster(*nodes: Capacity) -> Capacity:
    return Capacity.of([HEAD, *nodes])


def test_from_no_workers_all_of_them_can_come() -> None:
    assert growth(GPU_TYPE).coming(cluster(), with_gpus=True) == (COMING,) * 4


def test_those_that_are_there_do_not_come_again() -> None:
    coming = growth(GPU_TYPE).coming(cluster(THERE), with_gpus=True)
    assert len(coming) == 3


def test_a_node_to_come_is_taken_for_one_of_its_type_that_was_there() -> None:
    """Its memory and its type of GPU are known from then on, even when it has gone."""
    known = growth(GPU_TYPE)
    assert known.coming(cluster(THERE), with_gpus=True) == (THERE,) * 3
    assert known.coming(cluster(), with_gpus=True) == (THERE,) * 4


def test_a_node_of_another_kind_is_none_of_the_type() -> None:
    other = Capacity(8, 1)
    assert len(growth(GPU_TYPE).coming(cluster(other), with_gpus=True)) == 4


def test_more_nodes_than_the_limit_leave_none_to_come() -> None:
    assert growth(GPU_TYPE).coming(cluster(*[THERE] * 5), with_gpus=True) == ()


def test_where_no_gpus_are_to_be_used_nodes_come_without() -> None:
    assert growth(GPU_TYPE).coming(cluster(), with_gpus=False) == (Capacity(96),) * 4


def test_memory_of_gpus_is_known_by_their_type_and_else_left_open() -> None:
    a100 = NodeType("a100", {"CPU": 8, "GPU": 1, "accelerator_type:A100": 1}, 1)
    (node,) = growth(a100).coming(cluster(), with_gpus=True)
    assert (node.gpu_type, node.gpu_memory_bytes) == ("A100", 40 * 10**9)
    assert COMING.gpu_memory_bytes == 0


def test_a_cluster_without_an_autoscaler_stays_as_it_is() -> None:
    fixed = Growth(read=lambda: None)
    assert fixed.coming(cluster(THERE), with_gpus=True) == ()
    assert not fixed.brings_gpus


def test_where_nothing_is_known_of_nodes_that_come_any_stage_can_wait() -> None:
    blind = Growth(unknown_nodes(cpus_per_rank=8), read=lambda: None)
    most = Capacity.of([HEAD, *blind.coming(cluster(), with_gpus=True)])
    assert fits(most, Layout(ranks=64, cpus=8, gpus=1))
    assert not blind.brings_gpus, "GPUs that nobody has seen are none that a grid would choose"


def test_an_autoscaler_that_is_known_says_more_than_a_limit_of_stages() -> None:
    known = Growth(unknown_nodes(cpus_per_rank=8), read=lambda: (GPU_TYPE,))
    assert len(known.coming(cluster(), with_gpus=True)) == 4
    assert known.brings_gpus


def test_limits_are_read_again_after_a_while_and_stand_while_they_cannot_be() -> None:
    now, answers = [0.0], [(GPU_TYPE,), None, ()]
    changing = Growth(read=lambda: answers.pop(0), clock=lambda: now[0])
    assert changing.types == (GPU_TYPE,)
    assert changing.types == (GPU_TYPE,)
    now[0] = REFRESH_S
    assert changing.types == (GPU_TYPE,)
    now[0] = 2 * REFRESH_S
    assert changing.types == ()


def test_memory_is_asked_for_only_where_every_type_declares_it() -> None:
    with_memory = NodeType("cpu", {"CPU": 8, "memory": 10.0}, 1)
    layouts = [Layout(memory_bytes=5)]
    assert growth(with_memory).bundles(layouts) == [[{"CPU": 1.0, "memory": 5.0}]]
    without = NodeType("gpu", {"CPU": 8, "GPU": 1}, 1)
    assert growth(with_memory, without).bundles(layouts) == [[{"CPU": 1.0}]]


def test_a_type_of_gpu_is_asked_for_only_where_a_type_of_node_declares_it() -> None:
    layout = Layout(gpus=1, gpu_type="H100")
    typed = NodeType("h100", {"CPU": 8, "GPU": 8, "accelerator_type:H100": 1}, 1)
    assert "accelerator_type:H100" in growth(typed).bundles([layout])[0][0]
    untyped = NodeType("gpu", {"CPU": 8, "GPU": 8}, 1)
    assert growth(untyped).bundles([layout]) == [[{"CPU": 1.0, "GPU": 1.0}]]
