"""The most that a cluster can become: what is there, and what its autoscaler may add to it."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.cluster import resources_capacity
from orchestrator.ray_backend.growth.limits import types_that_can_come
from orchestrator.ray_backend.growth.node_types import MANY_NODES, NodeType
from orchestrator.ray_backend.growth.requests import bundles_of
from orchestrator.ray_backend.node_kinds import gpu_type

REFRESH_S = 300.0  # limits are changed by hand; what was read is believed for so long
_GPUS_OF_A_NODE = 8  # of nodes of which nothing is known


class Growth:
    """What may come to a cluster, and what is known of it by now."""

    def __init__(
        self,
        unknown: NodeType | None = None,
        read: Callable[[], tuple[NodeType, ...] | None] = types_that_can_come,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``unknown``: what comes where nothing is known of an autoscaler; default: nothing."""
        self._unknown = (unknown,) if unknown else ()
        self._read, self._clock = read, clock
        self._types: tuple[NodeType, ...] | None = None
        self._when = float("-inf")
        self._seen: dict[str, Capacity] = {}  # a node of each type that was there once
        self._last_asked: object = None  # asked at every step, and changed seldom
        self._coming: tuple[Capacity, ...] = ()

    @property
    def types(self) -> tuple[NodeType, ...]:
        """The types of node that can come; none for a cluster that stays as it is."""
        if self._clock() - self._when >= REFRESH_S:
            types = self._read()
            # What was known once stands while its source gives no answer.
            self._types = self._types if types is None else types
            self._when = self._clock()
        return self._unknown if self._types is None else self._types

    @property
    def brings_gpus(self) -> bool:
        """Whether nodes with GPUs are known to come."""
        known = () if self.types is self._unknown else self.types
        return any(each.resources.get("GPU", 0) >= 1 for each in known)

    def bundles(self, layouts: Iterable[Layout]) -> list[list[dict[str, float]]]:
        """Return what to ask the autoscaler for, to have room for each of these layouts.

        It names no memory and no types of GPU but those that types of node declare as resources.
        """
        declares_memory = all(each.resources.get("memory") for each in self.types)
        gpu_types = {gpu_type(each.resources) for each in self.types}
        return bundles_of(layouts, declares_memory, gpu_types)

    def may_come(self, there: Capacity) -> int:
        """Return how many nodes may come together, of all types, to those that are there."""
        workers = len(there.machines) - 1
        return max(0, min((each.together for each in self.types), default=0) - workers)

    def coming(self, there: Capacity, with_gpus: bool) -> tuple[Capacity, ...]:
        """Return the nodes that may still come to those that are there, as far as they are known.

        No GPUs unless ``with_gpus``. A node to come is taken for one of its type that was there
        once; before that, for what the autoscaler says. Each type counts as often as it may come
        alone: where all types together may have fewer nodes, the sum is too much.
        """
        asked = there, with_gpus, self.types
        if asked != self._last_asked:
            self._last_asked = asked
            self._coming = tuple(self._still_to_come(there.machines, with_gpus))
        return self._coming

    def _still_to_come(self, left: Sequence[Capacity], with_gpus: bool) -> Iterator[Capacity]:
        """Yield the nodes of each type that are not among those that are there."""
        for each in self.types:
            declared = resources_capacity(each.described, with_gpus)
            of_type = [node for node in left if is_of_type(node, declared)]
            left = [node for node in left if not is_of_type(node, declared)]
            left += of_type[each.most :]
            if of_type:
                self._seen[each.name] = of_type[0]
            node = self._seen.get(each.name, declared)
            yield from [node] * (each.most - len(of_type))


def is_of_type(node: Capacity, declared: Capacity) -> bool:
    """Whether a node that is there may be one of the type of which this was declared."""
    same_gpus = not declared.gpu_type or node.gpu_type == declared.gpu_type
    return (node.cpus, node.gpus) == (declared.cpus, declared.gpus) and same_gpus


def unknown_nodes(cpus_per_rank: int) -> NodeType:
    """Return what nodes are taken for that come when asked for and of which nothing is known."""
    resources = {"CPU": cpus_per_rank * _GPUS_OF_A_NODE, "GPU": _GPUS_OF_A_NODE}
    return NodeType("unknown", resources, MANY_NODES)
