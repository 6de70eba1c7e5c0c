"""How a stage is laid out over processes and devices, and how it gives way when memory is short. Pure.

A layout never changes a result: it is part of no content key.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import ceil
from typing import Any

from pydantic import TypeAdapter

from trsp.config import EngineSettings


@dataclass(frozen=True)
class Capacity:
    """What a cluster has for stages in all, free or not; with ``nodes``, also how it lies. 0 bytes: not known.

    ``memory_bytes``: of the hosts. ``gpu_memory_bytes``: of one GPU, the smallest. Without ``nodes`` it is one machine.
    """

    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0
    nodes: tuple["Capacity", ...] = ()

    @classmethod
    def of(cls, nodes: Iterable["Capacity"]) -> "Capacity":
        """The cluster of these nodes; in each, as in the whole, a size that is not known is 0."""
        parts = tuple(nodes)
        return cls(
            cpus=sum(node.cpus for node in parts),
            gpus=sum(node.gpus for node in parts),
            memory_bytes=sum(node.memory_bytes for node in parts),
            gpu_memory_bytes=min((node.gpu_memory_bytes for node in parts if node.gpu_memory_bytes), default=0),
            nodes=parts,
        )

    def limited(self, memory_bytes: int | None, gpu_memory_bytes: int | None) -> "Capacity":
        """With no more host memory than this in all, shared out by the nodes' CPUs, and this much on every GPU."""
        nodes = tuple(
            node.limited(memory_bytes and memory_bytes * node.cpus // max(1, self.cpus), gpu_memory_bytes)
            for node in self.nodes
        )
        if nodes:
            return Capacity.of(nodes)
        memory = min(self.memory_bytes or memory_bytes, memory_bytes) if memory_bytes else self.memory_bytes
        return replace(self, memory_bytes=memory, gpu_memory_bytes=gpu_memory_bytes or self.gpu_memory_bytes)


@dataclass(frozen=True)
class Layout:
    """``ranks`` processes of ``cpus`` CPUs and ``gpus`` GPUs each; more than one rank is a gang under ``engine``'s ZeRO stage.

    ``memory_bytes``: estimated peak host memory a rank, which the scheduler keeps free where there is no GPU; 0: not known.
    """

    ranks: int = 1
    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = 0
    engine: EngineSettings = field(default_factory=EngineSettings)

    def to_json(self) -> dict[str, Any]:
        dumped: dict[str, Any] = _LAYOUT.dump_python(self, mode="json")
        return dumped

    @classmethod
    def from_json(cls, stored: Any) -> "Layout":
        """ValueError for anything that ``to_json`` did not make."""
        return _LAYOUT.validate_python(stored)

    @property
    def text(self) -> str:
        """For people: ``2 ranks of 1 GPU, ZeRO 3, micro-batch 1, activation checkpointing, optimizer on cpu``."""
        engine = self.engine
        words = [
            f"{counted(self.ranks, 'rank')} of {counted(self.gpus, 'GPU') if self.gpus else counted(self.cpus, 'CPU')}",
            f"ZeRO {engine.zero_stage}",
            f"micro-batch {engine.micro_batch}",
            "activation checkpointing" if engine.activation_checkpointing else "",
            f"optimizer on {engine.offload_optimizer}" if engine.offload_optimizer != "none" else "",
            f"weights on {engine.offload_weights}" if engine.offload_weights != "none" else "",
        ]
        return ", ".join(word for word in words if word)


def counted(number: int, noun: str) -> str:
    """``1 GPU``, ``2 GPUs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


_LAYOUT = TypeAdapter(Layout)


# --- the ladder ----------------------------------------------------------------------------------------------------------


class Trains(StrEnum):
    """What of a model a stage trains, which says what ZeRO and offload have to share out."""

    WEIGHTS = "weights"
    BESIDE = "beside"  # gates or adapters beside frozen weights, which have no gradients and no optimizer states
    NOTHING = "nothing"  # one process, without an engine


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
    return None if layout.engine.activation_checkpointing else _with(layout, activation_checkpointing=True)


def _higher_zero(layout: Layout, limits: Limits) -> Layout | None:
    """The next stage that shares out more. One rank has nobody to share with; frozen weights are shared by stage 3 only."""
    if layout.ranks == 1 or layout.engine.zero_stage == 3:
        return None
    return _with(layout, zero_stage=layout.engine.zero_stage + 1 if limits.trains is Trains.WEIGHTS else 3)


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
    moved = {name: "nvme" for name in ("offload_optimizer", "offload_weights") if getattr(engine, name) == "cpu"}
    return _with(layout, zero_stage=3, **moved) if moved and engine.nvme_path else None


def _fewer_neighbours(layout: Layout, limits: Limits) -> Layout | None:
    """Keeps twice as much of the host's memory free for each rank."""
    if layout.gpus or not 0 < layout.memory_bytes < limits.node_memory_bytes // layout.ranks:
        return None
    return replace(layout, memory_bytes=min(2 * layout.memory_bytes, limits.node_memory_bytes // layout.ranks))


def _more_ranks(layout: Layout, limits: Limits) -> Layout | None:
    """Twice as many, or as many as may be, under a ZeRO stage by which a rank of more holds less.

    Without GPUs the ranks of one node share its memory, so each gets a node of its own.
    """
    ranks = min(2 * layout.ranks, limits.max_ranks if layout.gpus else min(limits.nodes, limits.max_ranks))
    if ranks <= layout.ranks:
        return None
    alone = limits.node_memory_bytes // 2 + 1 if limits.node_memory_bytes and not layout.gpus else 0
    stage = max(layout.engine.zero_stage, 1 if limits.trains is Trains.WEIGHTS else 3)
    return replace(_with(layout, zero_stage=stage), ranks=ranks, memory_bytes=max(layout.memory_bytes, alone))


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
