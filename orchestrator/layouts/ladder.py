"""How a layout gives way when memory is short, rung by rung. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from orchestrator.layouts.layout import Layout
from orchestrator.layouts.workload import Trains


@dataclass(frozen=True)
class Limits:
    """How far a stage may climb: what it may take, and what is there.

    ``max_gpus``: of one process that trains nothing. ``node_memory_bytes``: of the largest host; 0: not known.
    """

    trains: Trains
    blocks_per_step: int = 1
    max_ranks: int = 1
    max_gpus: int = 0
    nodes: int = 1
    node_memory_bytes: int = 0


def next_rung(layout: Layout, limits: Limits) -> Layout | None:
    """A layout that needs less memory a device, the cheapest first; None where there is none.

    The micro-batch goes down (accumulation goes up by itself), layers are computed again in the backward pass, ZeRO
    shares out more, the optimizer and then the weights wait on the host (and then on a local disk, where one is named), and
    at last there are more ranks. What cannot help is left out. Without GPUs, neighbours on the host may have been the cause.
    """
    rungs = _RUNGS if limits.trains is not Trains.NOTHING else (_more_gpus, _fewer_neighbours)
    climbed = (rung(layout, limits) for rung in rungs)
    return next((found for found in climbed if found is not None), None)


def _with(layout: Layout, **engine: Any) -> Layout:
    return replace(layout, engine=layout.engine.model_copy(update=engine))


def _smaller_micro_batch(layout: Layout, limits: Limits) -> Layout | None:
    """Half of what a rank really takes at once: never more than its share of the effective batch."""
    taken = min(layout.engine.micro_batch, ceil(limits.blocks_per_step / layout.ranks))
    return _with(layout, micro_batch=taken // 2) if taken > 1 else None


def _checkpoint_activations(layout: Layout, limits: Limits) -> Layout | None:
    return (
        None
        if layout.engine.activation_checkpointing
        else _with(layout, activation_checkpointing=True)
    )


def _higher_zero(layout: Layout, limits: Limits) -> Layout | None:
    """The next stage that shares out more. One rank has nobody to share with; frozen weights are shared by stage 3 only."""
    if layout.ranks == 1 or layout.engine.zero_stage == 3:
        return None
    return _with(
        layout, zero_stage=layout.engine.zero_stage + 1 if limits.trains is Trains.WEIGHTS else 3
    )


def _optimizer_to_host(layout: Layout, limits: Limits) -> Layout | None:
    """Only a GPU has a host that is another place."""
    engine = layout.engine
    if not layout.gpus or limits.trains is not Trains.WEIGHTS or engine.offload_optimizer != "none":
        return None
    return _with(layout, zero_stage=max(1, engine.zero_stage), offload_optimizer="cpu")


def _weights_to_host(layout: Layout, limits: Limits) -> Layout | None:
    if not layout.gpus or layout.engine.offload_weights != "none":
        return None
    return _with(layout, zero_stage=3, offload_weights="cpu")


def _to_disk(layout: Layout, limits: Limits) -> Layout | None:
    """From the host to its local disk, where the user has named one."""
    engine = layout.engine
    moved = {
        name: "nvme"
        for name in ("offload_optimizer", "offload_weights")
        if getattr(engine, name) == "cpu"
    }
    return _with(layout, zero_stage=3, **moved) if moved and engine.nvme_path else None


def _fewer_neighbours(layout: Layout, limits: Limits) -> Layout | None:
    """Keeps twice as much of the host's memory free for each rank."""
    if layout.gpus or not 0 < layout.memory_bytes < limits.node_memory_bytes // layout.ranks:
        return None
    return replace(
        layout, memory_bytes=min(2 * layout.memory_bytes, limits.node_memory_bytes // layout.ranks)
    )


def _more_ranks(layout: Layout, limits: Limits) -> Layout | None:
    """Twice as many, or as many as may be, under a ZeRO stage by which a rank of more holds less.

    Without GPUs the ranks of one node share its memory, so each gets a node of its own.
    """
    ranks = min(
        2 * layout.ranks, limits.max_ranks if layout.gpus else min(limits.nodes, limits.max_ranks)
    )
    if ranks <= layout.ranks:
        return None
    alone = limits.node_memory_bytes // 2 + 1 if limits.node_memory_bytes and not layout.gpus else 0
    stage = max(layout.engine.zero_stage, 1 if limits.trains is Trains.WEIGHTS else 3)
    return replace(
        _with(layout, zero_stage=stage), ranks=ranks, memory_bytes=max(layout.memory_bytes, alone)
    )


def _more_gpus(layout: Layout, limits: Limits) -> Layout | None:
    """A stage that trains nothing is one process, whose weights may lie on several GPUs of its node."""
    gpus = min(2 * layout.gpus, limits.max_gpus)
    return replace(layout, gpus=gpus) if gpus > layout.gpus else None


_RUNGS: Sequence[Callable[[Layout, Limits], Layout | None]] = (
    _smaller_micro_batch,
    _checkpoint_activations,
    _higher_zero,
    _optimizer_to_host,
    _weights_to_host,
    _to_disk,
    _fewer_neighbours,
    _more_ranks,
)
