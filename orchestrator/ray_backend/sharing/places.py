"""On which nodes stages run, failed, and are not to run."""

from collections.abc import Collection, Mapping
from dataclasses import replace

import ray
from ray.util import get_node_ip_address

from orchestrator.store.failures import Failure, Node

_NODE_ID = "ray.io/node-id"  # the label by which Ray knows every node


def this_node() -> Node:
    """Return the node that this process of a stage runs on."""
    return Node(ray.get_runtime_context().get_node_id(), get_node_ip_address())


def without(nodes: Collection[str]) -> dict[str, str]:
    """Return the selector of labels that all nodes but these (ids) have; empty for all nodes."""
    return {_NODE_ID: f"!in({','.join(sorted(nodes))})"} if nodes else {}


def located(failure: Failure, nodes: Mapping[int, str]) -> Failure:
    """Return the failure with the node where it was: that of the first rank that is its cause.

    ``nodes``: where the ranks were started, by rank, for those whose process is gone without a
    word.
    """
    if failure.node:
        return failure
    rank = failure.ranks[0].ranks[0] if failure.ranks else 0
    if rank not in nodes:
        return failure
    return replace(failure, node=Node(nodes[rank], _address(nodes[rank])))


def _address(node: str) -> str:
    """Return the address of a node, alive or dead, for people; its id where Ray knows none."""
    addresses = (each["NodeManagerAddress"] for each in ray.nodes() if each["NodeID"] == node)
    return next(addresses, node)


def where_in_words(
    nodes: Mapping[int, str], gpus: Mapping[int, str], addresses: Mapping[str, str]
) -> str:
    """Return where a stage's processes run: ``10.0.0.3, GPU 2``, ``4 ranks on 10.0.0.3, 10.0.0.4``.

    Empty where there is one node and no GPU. ``nodes``: their ids by rank; ``gpus``: the indices
    of those of a rank on its node; ``addresses``: of all nodes of the cluster, by id.
    """
    named = list(dict.fromkeys(addresses.get(node, node) for _, node in sorted(nodes.items())))
    where = ", ".join(named) if len(addresses) > 1 else ""
    if len(nodes) > 1:
        return " on ".join(filter(None, (f"{len(nodes)} ranks", where)))
    devices = ",".join(gpus.values())
    plural = "s" if "," in devices else ""
    return ", ".join(filter(None, (where, f"GPU{plural} {devices}" if devices else "")))
