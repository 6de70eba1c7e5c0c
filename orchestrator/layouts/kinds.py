"""The types of GPU that a cluster has, and which of them serve a stage best. Pure."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from typing import Literal

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.candidates import Candidates
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.estimate import DoesNotFit, layout_for
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.memory import Correction
from orchestrator.layouts.workload import work_of
from orchestrator.stages.stage_specs import StageSpec
from trsp.architecture.shape import ModelShape
from trsp.config import EngineSettings


def gpu_types(capacity: Capacity) -> frozenset[str]:
    """Return Ray's names for the types of a cluster's GPUs, with "" where one is not known."""
    machines = capacity.machines
    return frozenset(each.gpu_type for each in machines if each.gpus or each.gpu_parts)


def of_type(capacity: Capacity, gpu_type: str) -> Capacity:
    """Return the part of a cluster whose GPUs are of this type, for "" all of it.

    On GPUs whose type is not known, all that holds for every GPU of the cluster is sure to hold.
    """
    if not gpu_type:
        return capacity
    return _of_nodes(capacity, [node for node in capacity.machines if node.gpu_type == gpu_type])


def _hosts(capacity: Capacity) -> Capacity:
    """Return a cluster as it is for those who have no GPU."""
    hosts = [Capacity(each.cpus, memory_bytes=each.memory_bytes) for each in capacity.machines]
    return _of_nodes(capacity, hosts)


def _of_nodes(capacity: Capacity, nodes: Iterable[Capacity]) -> Capacity:
    """Return a cluster with these nodes in place of its own; all else that holds of it stays."""
    sums = Capacity.of(nodes)
    summed = ("cpus", "gpus", "memory_bytes", "gpu_memory_bytes", "nodes", "gpu_parts")
    return replace(capacity, **{name: getattr(sums, name) for name in summed})


def layouts_for(
    spec: StageSpec,
    shape: ModelShape | None,
    capacity: Capacity,
    resources: Resources,
    engine: EngineSettings | Literal["auto"],
    correction: Callable[[Capacity], Correction],
    types: Iterable[str] = ("",),
) -> tuple[Layout, ...] | DoesNotFit:
    """Return the cheapest layout of a stage on each type of GPU that holds it, the best first.

    All GPUs of a layout are of one of ``types``; those of "" may be of any. The best offloads
    nothing if any does; it costs the least by ``resources.gpu_cost`` or, without that, has the
    fewest GPUs, and the smallest of as many. The others offload no more than it does. What needs no
    GPU has one layout. ``correction`` gives what was measured on the devices of a part of the
    cluster. Everything else is as for ``layout_for``.
    """

    def on(part: Capacity, gpu_type: str) -> Layout | DoesNotFit:
        return layout_for(spec, shape, part, resources, engine, correction(part), gpu_type)

    work = work_of(spec)
    if work.is_for_cpus or resources.use_gpus is False:
        on_host = on(_hosts(capacity), "")
        if isinstance(on_host, Layout):
            return (on_host,)
    parts = {name: of_type(capacity, name) for name in sorted(types)}
    there = {name: part for name, part in parts.items() if not name or part.gpus}
    if not there:
        return DoesNotFit(f"{spec.kind} is for GPUs of {', '.join(parts)}, and there are none")
    found = [(part, on(part, name)) for name, part in there.items()]
    given = Candidates(work, capacity, resources, engine).are_given
    if given and all(isinstance(layout, DoesNotFit) for _, layout in found):
        found = [(capacity, on(capacity, ""))]  # as the user has said it, wherever that is
    return _best_first(found, resources)


def _best_first(
    found: Iterable[tuple[Capacity, Layout | DoesNotFit]], resources: Resources
) -> tuple[Layout, ...] | DoesNotFit:
    """Return what was found on parts of a cluster in order, or why the largest GPUs hold none."""
    fitting: list[tuple[tuple[float, ...], Layout]] = []
    refused: list[tuple[int, DoesNotFit]] = []
    for part, layout in found:
        if isinstance(layout, DoesNotFit):
            refused.append((part.gpu_memory_bytes, layout))
        else:
            fitting.append(((_offloads(layout), *_cost(layout, part, resources)), layout))
    if not fitting:
        return max(refused, key=lambda each: each[0])[1]
    fitting.sort(key=lambda each: each[0])
    least = _offloads(fitting[0][1])
    return tuple(layout for _, layout in fitting if _offloads(layout) == least)


def _offloads(layout: Layout) -> int:
    """Return how much of a layout waits on the host: nothing, the optimizer, or weights as well."""
    engine = layout.engine
    return (engine.offload_optimizer != "none") + (engine.offload_weights != "none")


def _cost(layout: Layout, part: Capacity, resources: Resources) -> tuple[float, int]:
    """Return a sort key: what a layout costs, and the bytes of its GPUs, those unknown last.

    Types that ``resources.gpu_cost`` does not name come after those that it names.
    """
    if resources.gpu_cost is None:
        price = float(layout.ranks * layout.whole_gpus)
    else:
        price = layout.ranks * layout.gpus * resources.gpu_cost.get(layout.gpu_type, inf)
    return price, part.gpu_memory_bytes or sys.maxsize
