"""How a stage is laid out over processes and devices, and how it gives way when memory is short. Pure.

A layout never changes a result: it is part of no content key.
"""

from dataclasses import dataclass, field

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
