"""The types of node that can come, by an autoscaler's config and by what it reports."""

from typing import Any

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.growth.node_types import (
    MANY_NODES,
    NodeType,
    types_of_config,
    types_of_groups,
)
from orchestrator.ray_backend.potential import Growth

GPU_NODE = {"CPU": 96, "GPU": 8}


def config(**types: dict[str, Any]) -> dict[str, Any]:
    head = {"resources": {"CPU": 4}}
    return {"max_workers": 10, "head_node_type": "head", "available_node_types": {"head": head}} | {
        "available_node_types": {"head": head, **types}
    }


def test_the_head_is_there_and_does_not_come() -> None:
    gpu = {"resources": GPU_NODE, "min_workers": 0, "max_workers": 4}
    assert types_of_config(config(gpu=gpu)) == (NodeType("gpu", GPU_NODE, 4),)


def test_workers_of_the_heads_type_come_where_its_config_says_so() -> None:
    config_ = config()
    config_["available_node_types"]["head"]["max_workers"] = 3
    assert types_of_config(config_) == (NodeType("head", {"CPU": 4}, 4),), "the head is the fourth"


def test_a_head_that_looks_like_the_workers_takes_no_workers_place() -> None:
    """A cluster of one instance type: a gang of all its nodes was refused."""
    config_ = config(gpu={"resources": GPU_NODE, "max_workers": 3})
    config_["available_node_types"]["head"]["resources"] = GPU_NODE
    growth, head = Growth(read=lambda: types_of_config(config_)), Capacity(96, 8)
    assert len(growth.coming(head, with_gpus=True)) == 3


def test_a_type_without_a_number_has_that_of_all_types() -> None:
    (gpu,) = types_of_config(config(gpu={"resources": GPU_NODE}))
    assert gpu.most == 10


def test_no_type_has_more_nodes_than_all_types_together() -> None:
    (gpu,) = types_of_config(config(gpu={"resources": GPU_NODE, "max_workers": 99}))
    assert gpu.most == 10


def test_a_type_of_no_nodes_cannot_come() -> None:
    assert types_of_config(config(gpu={"resources": GPU_NODE, "max_workers": 0})) == ()


def test_without_any_number_there_are_as_many_as_ray_starts() -> None:
    config_ = config(gpu={"resources": GPU_NODE})
    del config_["max_workers"]
    assert [each.most for each in types_of_config(config_)] == [2]


def test_a_number_that_is_unlimited_counts_as_many() -> None:
    config_ = config(gpu={"resources": GPU_NODE}) | {"max_workers": None}
    assert [each.most for each in types_of_config(config_)] == [MANY_NODES]
    (reported,) = types_of_groups([("gpu", GPU_NODE, -1)], {})
    assert reported.most == MANY_NODES


def test_the_type_of_gpu_may_be_a_label() -> None:
    labels = {"ray.io/accelerator-type": "A100"}
    (gpu,) = types_of_config(config(gpu={"resources": GPU_NODE, "labels": labels}))
    assert gpu.described == GPU_NODE | {"accelerator_type:A100": 1}
    assert gpu.resources == GPU_NODE, "as the autoscaler knows it"


def test_a_type_of_gpu_that_only_a_label_names_is_not_asked_for() -> None:
    """Ray's autoscaler looks for it among resources, finds none, and never starts a node."""
    labels = {"ray.io/accelerator-type": "A100"}
    config_ = config(gpu={"resources": GPU_NODE, "labels": labels})
    growth = Growth(read=lambda: types_of_config(config_))
    assert growth.bundles([Layout(gpus=1, gpu_type="A100")]) == [[{"CPU": 1.0, "GPU": 1.0}]]
    assert {each.gpu_type for each in growth.coming(Capacity(4), with_gpus=True)} == {"A100"}


def test_a_limit_of_the_whole_cluster_limits_each_type() -> None:
    groups = [("gpu", GPU_NODE, 10), ("cpu", {"CPU": 16}, 10), ("none", GPU_NODE, 0)]
    gpu, cpu = types_of_groups(groups, {"GPU": 20, "CPU": 1000})
    assert (gpu.most, cpu.most) == (2, 10)


def test_a_config_without_types_brings_nothing() -> None:
    assert types_of_config({"cluster_name": "x"}) == ()
