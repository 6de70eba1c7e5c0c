"""A function run on nodes of the cluster, each in a process there, within a time limit."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.ray_backend.node_kinds import ClusterNode, nodes_of
from orchestrator.ray_backend.potential import Growth


def cluster_nodes() -> tuple[ClusterNode, ...]:
    """Return the nodes that are alive."""
    return nodes_of(ray.nodes())


def gpus_can_come() -> bool:
    """Whether the cluster's autoscaler may start nodes with GPUs."""
    return Growth().brings_gpus


class NodeCalls:
    """Calls of one function on several nodes, which run from the moment this is made.

    A call takes ``cpus`` and ``gpus`` of its node and a fresh process where it takes any, for what
    it loads and the memory that it measures are to be its own.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        nodes: Iterable[ClusterNode],
        *arguments: Any,
        cpus: int = 0,
        gpus: int = 0,
    ) -> None:
        options: dict[str, Any] = {"max_retries": 0, "max_calls": int(cpus + gpus > 0)}
        task = ray.remote(**options)(function)
        self._references = {
            node: task.options(
                num_cpus=cpus,
                num_gpus=gpus,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            ).remote(*arguments)
            for node in nodes
        }

    def answers(self, timeout_s: float) -> dict[ClusterNode, Any]:
        """Return what the calls returned, by node, within ``timeout_s`` seconds from now.

        In place of an answer there is the exception that the function raised; TimeoutError where it
        did not come to its end, which is then ended; or what Ray says of a process or node lost.
        """
        deadline = time.monotonic() + timeout_s
        return {
            node: outcome_of(reference, deadline - time.monotonic(), timeout_s)
            for node, reference in self._references.items()
        }


def call_once(function: Callable[..., Any], *arguments: Any, node: ClusterNode) -> Any:
    """Start a function that takes nothing of its node, and return the reference to its outcome."""
    here = NodeAffinitySchedulingStrategy(node.id, soft=True)
    task = ray.remote(max_calls=1, max_retries=0, num_cpus=0, scheduling_strategy=here)(function)
    return task.remote(*arguments)


def outcome_of(reference: Any, wait_s: float, limit_s: float) -> Any:
    """Return the outcome of a call, or the exception in its place, after at most ``wait_s``.

    ``limit_s`` is the limit that a TimeoutError names.
    """
    try:
        return ray.get(reference, timeout=max(0.0, wait_s))
    except GetTimeoutError:
        ray.cancel(reference, force=True)
        return TimeoutError(f"no answer within {limit_s:g} s")
    except RayTaskError as error:
        return error.cause or error
    except RayError as error:
        return error


def joined(address: str | None, connect: Callable[[str | None], None]) -> bool:
    """Connect to the cluster by ``connect``, unless this process is connected; whether it did."""
    if ray.is_initialized():
        return False
    connect(address)
    return True


def leave() -> None:
    """Disconnect from the cluster; a local one of ours ends."""
    ray.shutdown()
