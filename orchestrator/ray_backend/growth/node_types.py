"""The types of node that an autoscaler may start, and how many of each. Pure: reads its config."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.layouts.layout import GPU_TYPE

# What a type of node without a limit, or with an unknown one, counts as.
MANY_NODES = 256
# The most nodes besides the head, of all types, where a cluster's file does not say: Ray's default.
DEFAULT_MAX_WORKERS = 2
_GPU_TYPE_LABEL = "ray.io/accelerator-type"


@dataclass(frozen=True)
class NodeType:
    """A type of node that can come, and how many nodes like it there may be at once.

    ``resources``: as Ray names them, of one node; those that are not declared are not known.
    ``gpu_label``: the type of its GPUs where only its labels name it. ``together``: how many nodes
    of all types there may be at once, besides the head.
    """

    name: str
    resources: Mapping[str, float]
    most: int
    gpu_label: str = ""
    together: int = field(default=MANY_NODES, compare=False)

    @property
    def described(self) -> Mapping[str, float]:
        """What a node of it has once it is there, for Ray finds out the type of its GPUs.

        Ray's autoscalers do not: to them a node has its ``resources`` and no others.
        """
        if not self.gpu_label:
            return self.resources
        return {**self.resources, GPU_TYPE + self.gpu_label: 1.0}


def types_of_config(config: Mapping[str, Any]) -> tuple[NodeType, ...]:
    """Return the types of node that an autoscaler of this config may start; none of 0 nodes.

    ``config``: a cluster's file, as ``ray up`` takes it, or what Ray derives from a RayCluster of
    Kubernetes. The head is no type that can come, and is none of the workers that a type may have:
    where it looks like them, there may be one node more that does. A type has at most as many
    workers as all types together may have.
    """
    head = config.get("head_node_type")
    heads = ((config.get("available_node_types") or {}).get(head) or {}).get("resources") or {}
    limit = _limit(config.get("max_workers", DEFAULT_MAX_WORKERS))
    types = []
    for name, described in (config.get("available_node_types") or {}).items():
        most = _limit(described.get("max_workers", 0 if name == head else limit))
        resources = dict(described.get("resources") or {})
        most = min(most, limit)
        if most > 0:
            most += _look_alike(resources, heads)
            label = _gpu_label(resources, described)
            types.append(NodeType(name, resources, most, label, limit))
    return tuple(types)


def types_of_groups(
    groups: Iterable[tuple[str, Mapping[str, float], int]], limits: Mapping[str, float]
) -> tuple[NodeType, ...]:
    """Return the types of node of a cluster's config, as an autoscaler reports it to Ray.

    ``groups``: name, resources of one node, and the most nodes of it, -1 for no limit. ``limits``:
    the most of a resource that the whole cluster may have; those without a limit are left out.
    """
    types = []
    for name, resources, most in groups:
        within = [
            int(limits[resource] // amount)
            for resource, amount in resources.items()
            if resource in limits and amount > 0
        ]
        types.append(NodeType(name, dict(resources), min([_limit(most), *within])))
    return tuple(each for each in types if each.most > 0)


def _limit(most: object) -> int:
    """Return a number of nodes; MANY_NODES for none (null), a negative one, or a larger one."""
    if not isinstance(most, int) or most < 0:
        return MANY_NODES
    return min(most, MANY_NODES)


def _look_alike(some: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether nodes of these resources cannot be told apart, as far as they are declared."""
    return all(some.get(name, 0) == other.get(name, 0) for name in ("CPU", "GPU"))


def _gpu_label(resources: Mapping[str, float], described: Mapping[str, Any]) -> str:
    """Return the type of GPU that a type's labels name, where its resources name none."""
    if any(name.startswith(GPU_TYPE) for name in resources):
        return ""
    return str((described.get("labels") or {}).get(_GPU_TYPE_LABEL, ""))
