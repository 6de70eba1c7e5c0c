"""Which nodes of a cluster are of one kind."""

from typing import Any

from orchestrator.ray_backend.node_kinds import at_most, nodes_of, one_per_kind

_GIB = 2**30


def _described(name: str, address: str = "10.0.0.1", alive: bool = True, **resources: Any) -> Any:
    return {
        "NodeID": name,
        "Alive": alive,
        "NodeManagerAddress": address,
        "Resources": {"CPU": 8.0, "memory": 60 * _GIB, f"node:{address}": 1.0, **resources},
        "Labels": {"ray.io/node-id": name},
    }


def test_the_head_comes_first_and_the_dead_do_not_count() -> None:
    head = _described("h", "10.0.0.9", **{"node:__internal_head__": 1.0})
    nodes = nodes_of([_described("a"), head, _described("b", alive=False)])
    assert [(node.id, node.name) for node in nodes] == [("h", "node 1"), ("a", "node 2")]
    assert nodes[0].text == "node 1: 10.0.0.9 (head), 8 CPUs"


def test_nodes_of_about_as_much_memory_are_of_one_kind() -> None:
    alike = nodes_of([_described("a"), _described("b", "10.0.0.2", memory=59 * _GIB)])
    assert [node.id for node in one_per_kind(alike)] == ["a"]


def test_gpus_and_labels_make_another_kind() -> None:
    gpus = {"GPU": 2.0, "accelerator_type:A100": 1.0, "accelerator_type:A100-80G": 1.0}
    labelled = _described("c", "10.0.0.3") | {"Labels": {"ray.io/node-group": "spot"}}
    nodes = nodes_of([_described("a"), _described("b", "10.0.0.2", **gpus), labelled])
    assert [node.id for node in one_per_kind(nodes)] == ["a", "b", "c"]
    assert nodes[1].text == "node 2: 10.0.0.2, 8 CPUs, 2 GPUs (A100-80G)"


def test_of_many_nodes_every_kind_is_among_those_that_are_asked() -> None:
    many = [_described(f"a{i:02d}", f"10.0.1.{i}") for i in range(10, 20)]
    nodes = nodes_of([*many, _described("gpu", "10.0.9.1", GPU=1.0)])
    assert {node.id for node in at_most(nodes, 3)} == {"a10", "gpu", "a11"}
