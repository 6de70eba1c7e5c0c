"""How a stage is laid out over processes and devices. Pure.

A layout never changes a result: it is part of no content key.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil
from typing import Any

from pydantic import TypeAdapter

from trsp.config import EngineSettings

GPU_TYPE = "accelerator_type:"  # so Ray names the resource by which it knows a type of GPU
OF_A_TYPE = 0.001  # how much of it Ray takes for each process that asks for the type


@dataclass(frozen=True)
class Layout:
    """``ranks`` processes of ``cpus`` CPUs and ``gpus`` GPUs each.

    More than one rank is a gang under ``engine``'s ZeRO stage. ``gpus``: below 1 the part of one
    GPU that a stage of one rank has, beside other stages; else a whole number. ``memory_bytes``:
    the estimated peak host memory per rank, which the scheduler keeps free where there is no GPU;
    0: not known. ``gpu_type``: Ray's name for the type that all its GPUs are of; empty: any.
    """

    ranks: int = 1
    cpus: int = 1
    gpus: int | float = 0
    memory_bytes: int = 0
    engine: EngineSettings = field(default_factory=EngineSettings)
    gpu_type: str = ""

    @property
    def whole_gpus(self) -> int:
        """How many GPUs each rank computes on, one of which it has a part only of included."""
        return ceil(self.gpus)

    @property
    def shares_gpu(self) -> bool:
        """Whether the stage has a part of a GPU, and others may have the rest."""
        return 0 < self.gpus < 1

    @property
    def amounts(self) -> dict[str, float]:
        """What each rank takes, as Ray names it; memory is that of the host, in bytes."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_bytes}
        if self.gpu_type:
            amounts[GPU_TYPE + self.gpu_type] = OF_A_TYPE
        return {name: float(amount) for name, amount in amounts.items() if amount}

    def to_json(self) -> dict[str, Any]:
        """Return the layout as plain values, as records and claims keep it.

        A type of GPU is named only where the layout has one: so what was learned before there were
        types is still found.
        """
        dumped: dict[str, Any] = _LAYOUT.dump_python(self, mode="json")
        if not self.gpu_type:
            del dumped["gpu_type"]
        return dumped

    @classmethod
    def from_json(cls, stored: Any) -> "Layout":
        """Return the layout that ``to_json`` dumped; ValueError for anything else."""
        return _LAYOUT.validate_python(stored)

    @property
    def text(self) -> str:
        """The layout for people: ``2 ranks of 1 GPU, ZeRO 3, micro-batch 1, optimizer on cpu``."""
        engine = self.engine
        words = [
            f"{counted(self.ranks, 'rank')} of {self.devices}",
            f"ZeRO {engine.zero_stage}",
            f"micro-batch {engine.micro_batch}",
        ]
        if engine.activation_checkpointing:
            words.append("activation checkpointing")
        if engine.offload_optimizer != "none":
            words.append(f"optimizer on {engine.offload_optimizer}")
        if engine.offload_weights != "none":
            words.append(f"weights on {engine.offload_weights}")
        return ", ".join(words)

    @property
    def devices(self) -> str:
        """What one rank computes on, for people: ``2 GPUs``, or without any ``4 CPUs``."""
        return gpus_text(self.gpus, self.gpu_type) if self.gpus else counted(self.cpus, "CPU")


def gpus_text(gpus: float, gpu_type: str = "") -> str:
    """Return GPUs for people: ``2 GPUs``, ``1 GPU (H100)``, ``1/4 of a GPU``."""
    if 0 < gpus < 1:
        text = f"{Fraction(gpus).limit_denominator(1000)} of a GPU"
    else:
        text = counted(int(gpus), "GPU")
    return f"{text} ({gpu_type})" if gpu_type else text


def counted(number: int, noun: str) -> str:
    """Return a number and its noun for people: ``1 GPU``, ``2 GPUs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_LAYOUT = TypeAdapter(Layout)
