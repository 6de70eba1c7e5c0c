"""How a stage is laid out over processes and devices. Pure.

A layout never changes a result: it is part of no content key.
"""

from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from trsp.config import EngineSettings


@dataclass(frozen=True)
class Layout:
    """``ranks`` processes of ``cpus`` CPUs and ``gpus`` GPUs each.

    More than one rank is a gang under ``engine``'s ZeRO stage. ``memory_bytes``: the estimated peak
    host memory per rank, which the scheduler keeps free where there is no GPU; 0: not known.
    """

    ranks: int = 1
    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = 0
    engine: EngineSettings = field(default_factory=EngineSettings)

    def to_json(self) -> dict[str, Any]:
        """Return the layout as plain values, as records and claims keep it."""
        dumped: dict[str, Any] = _LAYOUT.dump_python(self, mode="json")
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
        return counted(self.gpus, "GPU") if self.gpus else counted(self.cpus, "CPU")


def counted(number: int, noun: str) -> str:
    """Return a number and its noun for people: ``1 GPU``, ``2 GPUs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_LAYOUT = TypeAdapter(Layout)
