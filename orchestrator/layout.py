"""How a stage is laid out over processes and devices, and how it gives way when memory is short. Pure.

A layout never changes a result: it is part of no content key.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

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
