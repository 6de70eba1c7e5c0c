"""The nodes of a cluster, and which of them are of one kind. Pure: reads what Ray says of them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.layouts.layout import GPU_TYPE, counted

_HEAD = "node:__internal_head__"
_COUNTED = ("CPU", "GPU", "memory", "object_store_memory")
_OF_ONE_NODE = "ray.io/node-id"  # the label that no two nodes share


@dataclass(frozen=True)
class ClusterNode:
    """One node. ``name`` is for people (``node 2``); ``kind`` is equal for interchangeable nodes.

    ``gpu_type``: Ray's name of it; empty where there is none.
    """

    id: str
    name: str
    address: str
    cpus: int
    gpus: int
    gpu_type: str
    is_head: bool
    kind: tuple[Any, ...]

    @property
    def text(self) -> str:
        """The node for people: ``node 1: 10.0.0.4 (head), 16 CPUs, 8 GPUs (H100)``."""
        head = " (head)" if self.is_head else ""
        gpus = f", {counted(self.gpus, 'GPU')} ({self.gpu_type or 'type unknown'})"
        return f"{self.name}: {self.address}{head}, {counted(self.cpus, 'CPU')}" + (
            gpus if self.gpus else ""
        )


def nodes_of(described: Iterable[Mapping[str, Any]]) -> tuple[ClusterNode, ...]:
    """Return the living nodes among ``described``, as ``ray.nodes()`` gives them.

    They are named by number in the order of their addresses, the head first.
    """
    alive = [node for node in described if node["Alive"]]
    alive.sort(key=lambda node: (_HEAD not in node["Resources"], node["NodeManagerAddress"]))
    return tuple(_node(f"node {i}", node) for i, node in enumerate(alive, start=1))


def one_per_kind(nodes: Iterable[ClusterNode]) -> tuple[ClusterNode, ...]:
    """Return the first node of each kind."""
    first: dict[tuple[Any, ...], ClusterNode] = {}
    for node in nodes:
        first.setdefault(node.kind, node)
    return tuple(first.values())


def at_most(nodes: tuple[ClusterNode, ...], limit: int) -> tuple[ClusterNode, ...]:
    """Return up to ``limit`` nodes, with every kind among them as far as that goes."""
    kinds = one_per_kind(nodes)
    others = [node for node in nodes if node not in kinds]
    return (*kinds, *others)[:limit]


def gpu_type(resources: Iterable[str]) -> str:
    """Return Ray's name for the type of the GPUs among a node's resources; empty without any."""
    types = [name.removeprefix(GPU_TYPE) for name in resources if name.startswith(GPU_TYPE)]
    return max(types, default="")  # A100-80G before A100


def _node(name: str, described: Mapping[str, Any]) -> ClusterNode:
    """Return one of ``ray.nodes()`` as a node of this name."""
    resources = described["Resources"]
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    kind_of_gpu = gpu_type(resources)
    labels = described.get("Labels") or {}
    kind = (
        *(cpus, gpus, kind_of_gpu, _doublings(resources.get("memory", 0))),
        *sorted(key for key in resources if key not in _COUNTED and not key.startswith("node:")),
        *sorted(f"{key}={value}" for key, value in labels.items() if key != _OF_ONE_NODE),
    )
    return ClusterNode(
        described["NodeID"],
        name,
        described["NodeManagerAddress"],
        cpus,
        gpus,
        kind_of_gpu,
        _HEAD in resources,
        kind,
    )


def _doublings(memory_bytes: float) -> int:
    """Return how often memory doubles from one byte, rounded: equal for nodes of about as much."""
    return round(math.log2(memory_bytes)) if memory_bytes >= 1 else 0
