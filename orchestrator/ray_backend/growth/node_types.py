"""The types of node that an autoscaler may start, and how many of each. Pure: reads its config."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.layouts.layout import GPU_TYPE

# What a type of node without a limit, or with an unknown one, counts as.
MANY_NODES = 256
# The most nodes besides the head, of all types, where a cluster's file does not say: Ray's default.
DEFAULT_MAX_WORKERS = 2
_GPU_TYPE_LABEL = "ray.io/accelerator-type"


@dataclass(frozen=True)
class NodeType:
    """A type of node that can come, and how many of it there may be at once.

    ``resources``: as Ray names them, of one node; those that are not declared are not known.
    """

    name: str
    resources: Mapping[str, float]
    most: int


def types_of_config(config: Mapping[str, Any]) -> tuple[NodeType, ...]:
    """Return the types of node that an autoscaler of this config may start; none of 0 nodes.

    ``config``: a cluster's file, as ``ray up`` takes it, or what Ray derives from a RayCluster of
    Kubernetes. The head is no type that can come. A type has at most as many nodes as all types
    together may have.
    """
    head = config.get("head_node_type")
    limit = _limit(config.get("max_workers", DEFAULT_MAX_WORKERS))
    types = []
    for name, described in (config.get("available_node_types") or {}).items():
        most = _limit(described.get("max_workers", 0 if name == head else limit))
        resources = dict(described.get("resources") or {})
        types.append(NodeType(name, _with_gpu_type(resources, described), min(most, limit)))
    return tuple(each for each in types if each.most > 0)


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


def _with_gpu_type(
    resources: dict[str, float], described: Mapping[str, Any]
) -> Mapping[str, float]:
    """Return the resources with the type of GPU that the node's labels name, where only they do."""
    label = (described.get("labels") or {}).get(_GPU_TYPE_LABEL)
    if label and not any(name.startswith(GPU_TYPE) for name in resources):
        return resources | {f"{GPU_TYPE}{label}": 1}
    return resources
