"""What this machine has for a grid to run on, by the system and ``nvidia-smi``; no torch."""

import os
import sys
from dataclasses import dataclass

from orchestrator.doctor.probes.node_probe import machine_gpus
from trsp.distributed.host_memory import free_host_bytes


@dataclass(frozen=True)
class Machine:
    """CPU cores, free memory of the host (0: not known), and the memory of each GPU, in bytes."""

    cpus: int
    memory_bytes: int
    gpu_bytes: tuple[int, ...] = ()
    gpu_name: str = ""  # of the first

    @property
    def text(self) -> str:
        """The machine for people: ``2 CPU cores`` or ``8 x NVIDIA H100 80GB HBM3``."""
        if self.gpu_bytes:
            return f"{len(self.gpu_bytes)} x {self.gpu_name}"
        return "1 CPU core" if self.cpus == 1 else f"{self.cpus} CPU cores"


def this_machine() -> Machine:
    """Return what this process may use of the machine that it is on."""
    gpus = machine_gpus()
    cpus = len(os.sched_getaffinity(0)) if sys.platform == "linux" else (os.cpu_count() or 1)
    return Machine(
        cpus=cpus,
        memory_bytes=free_host_bytes(),
        gpu_bytes=tuple(gpu.total_bytes for gpu in gpus),
        gpu_name=gpus[0].name if gpus else "",
    )
