"""How a stage is laid out over processes and devices. Pure.

A layout never changes a result: it is part of no content key.
"""

from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from trsp.config import EngineSettings


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
            f"optimizer on {engine.offload_optimizer}"
            if engine.offload_optimizer != "none"
            else "",
            f"weights on {engine.offload_weights}" if engine.offload_weights != "none" else "",
        ]
        return ", ".join(word for word in words if word)


def counted(number: int, noun: str) -> str:
    """``1 GPU``, ``2 GPUs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


_LAYOUT = TypeAdapter(Layout)
