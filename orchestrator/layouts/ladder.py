"""How a layout gives way when memory is short, rung by rung. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from orchestrator.layouts.layout import Layout
from orchestrator.layouts.workload import Trains


@dataclass(frozen=True)
class Limits:
    """How far a stage may climb: what it trains, what it may take, and what is there.

    ``lora``: whether adapters are merged in the end, into weights that must be in memory then.
    ``max_gpus``: of one process that trains nothing. ``node_memory_bytes``: of the largest host;
    0: not known.
    """

    trains: Trains
    blocks_per_step: int = 1
    max_ranks: int = 1
    max_gpus: int = 0
    nodes: int = 1
    node_memory_bytes: int = 0
    lora: bool = False


def next_rung(layout: Layout, limits: Limits) -> Layout | None:
    """Return a layout that needs less memory per device, the cheapest; None where there is none.

    A stage that shared its GPU gets all of it. The micro-batch goes down (accumulation goes up by
    itself), layers are computed again in the backward pass, ZeRO shares out more, the optimizer and
    then the weights wait on the host (and then on a local disk, where one is named), and at last
    there are more ranks. What cannot help is left out. Without GPUs, neighbours on the host may
    have been the cause.
    """
    rungs = _PROCESS_RUNGS if limits.trains is Trains.NOTHING else _TRAINING_RUNGS
    for rung in rungs:
        climbed = rung(layout, limits)
        if climbed is not None:
            return climbed
    return None


def _with_engine(layout: Layout, **settings: Any) -> Layout:
    """Return the layout with these settings of its engine changed, which are not validated."""
    return replace(layout, engine=layout.engine.model_copy(update=settings))


def _whole_gpu(layout: Layout, limits: Limits) -> Layout | None:
    """Return the layout with all of the GPU that it shared: a neighbour may have been the cause."""
    return replace(layout, gpus=1) if layout.shares_gpu else None


def _smaller_micro_batch(layout: Layout, limits: Limits) -> Layout | None:
    """Return the layout with half of what a rank really takes at once.

    That is never more than the rank's share of the effective batch.
    """
    taken = min(layout.engine.micro_batch, ceil(limits.blocks_per_step / layout.ranks))
    return _with_engine(layout, micro_batch=taken // 2) if taken > 1 else None


def _checkpoint_activations(layout: Layout, limits: Limits) -> Layout | None:
    """Return the layout with layers that are computed again in the backward pass."""
    if layout.engine.activation_checkpointing:
        return None
    return _with_engine(layout, activation_checkpointing=True)


def _higher_zero(layout: Layout, limits: Limits) -> Layout | None:
    """Return the layout under the next ZeRO stage that shares out more.

    One rank has nobody to share with; frozen weights are shared by stage 3 only.
    """
    if layout.ranks == 1 or layout.engine.zero_stage == 3:
        return None
    stage = layout.engine.zero_stage + 1 if limits.trains is Trains.WEIGHTS else 3
    return _with_engine(layout, zero_stage=stage)


def _optimizer_to_host(layout: Layout, limits: Limits) -> Layout | None:
    """Return the layout with the optimizer on the host, which only for a GPU is another place."""
    engine = layout.engine
    if not layout.gpus or limits.trains is not Trains.WEIGHTS or engine.offload_optimizer != "none":
        return None
    return _with_engine(layout, zero_stage=max(1, engine.zero_stage), offload_optimizer="cpu")


def _weights_to_host(layout: Layout, limits: Limits) -> Layout | None:
    """Return the layout with a GPU's weights on the host, which needs ZeRO-3."""
    if not layout.gpus or layout.engine.offload_weights != "none":
        return None
    return _with_engine(layout, zero_stage=3, offload_weights="cpu")


def _to_disk(layout: Layout, limits: Limits) -> Layout | None:
    """Return the layout with the host's part on its local disk, where the user has named one."""
    engine = layout.engine
    on_host = [
        name for name in ("offload_optimizer", "offload_weights") if getattr(engine, name) == "cpu"
    ]
    if not on_host or not engine.nvme_path or limits.lora:
        return None
    return _with_engine(layout, zero_stage=3, **dict.fromkeys(on_host, "nvme"))


def _fewer_neighbours(layout: Layout, limits: Limits) -> Layout | None:
    """Return the layout with twice as much of the host's memory kept free for each rank."""
    most = limits.node_memory_bytes // layout.ranks
    if layout.gpus or not 0 < layout.memory_bytes < most:
        return None
    return replace(layout, memory_bytes=min(2 * layout.memory_bytes, most))


def _more_ranks(layout: Layout, limits: Limits) -> Layout | None:
    """Return the layout with twice as many ranks, or as many as may be, each of which holds less.

    So it is under a ZeRO stage that shares out what is trained. Without GPUs the ranks of one node
    share its memory: each gets a node of its own, by keeping more than half of one free.
    """
    most = limits.max_ranks if layout.gpus else min(limits.nodes, limits.max_ranks)
    ranks = min(2 * layout.ranks, most)
    if ranks <= layout.ranks:
        return None
    memory_bytes = layout.memory_bytes
    if limits.node_memory_bytes and not layout.gpus:
        memory_bytes = max(memory_bytes, limits.node_memory_bytes // 2 + 1)
    lowest_stage = 1 if limits.trains is Trains.WEIGHTS else 3
    shared = _with_engine(layout, zero_stage=max(layout.engine.zero_stage, lowest_stage))
    return replace(shared, ranks=ranks, memory_bytes=memory_bytes)


def _more_gpus(layout: Layout, limits: Limits) -> Layout | None:
    """Return the layout with twice as many GPUs of one node, over which a process's weights lie."""
    gpus = min(2 * layout.whole_gpus, limits.max_gpus)
    return replace(layout, gpus=gpus) if gpus > layout.gpus else None


def _to_gpu(layout: Layout, limits: Limits) -> Layout | None:
    """Return the layout of a stage that its host cannot hold, on a GPU of a cluster that has any.

    Stages that a GPU helps began there.
    """
    return replace(layout, gpus=1) if limits.max_gpus and not layout.gpus else None


_Rung = Callable[[Layout, Limits], Layout | None]
_TRAINING_RUNGS: Sequence[_Rung] = (
    _whole_gpu,
    _smaller_micro_batch,
    _checkpoint_activations,
    _higher_zero,
    _optimizer_to_host,
    _weights_to_host,
    _to_disk,
    _fewer_neighbours,
    _more_ranks,
)
# A stage that trains nothing is one process, whose weights may lie on several GPUs of its node.
_PROCESS_RUNGS: Sequence[_Rung] = (_whole_gpu, _more_gpus, _fewer_neighbours, _to_gpu)
