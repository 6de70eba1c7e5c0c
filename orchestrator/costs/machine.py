"""The cluster that a grid's costs are counted for: what was asked for, or else what is at hand."""

import os
from dataclasses import dataclass, replace

from orchestrator.grid.run_settings import NumberOfGpus, Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import counted
from orchestrator.layouts.share import within
from orchestrator.scheduler.expected.devices import GPU_TYPES
from trsp.errors import InvalidInputError, unknown_name

_GPUS, _GPUS_PER_NODE = 8, 8
_GPU_MEMORY = 80 * 10**9
_CPUS_PER_GPU = 12  # at the least: what machines of GPUs have


@dataclass(frozen=True)
class Machine:
    """A cluster, and the settings by which stages are laid out on it.

    ``gpu_type``: a name in ``GPU_TYPES``; "" where no type is known. ``assumed``: what nobody has
    said of it, and how to say it; "" where all is known.
    """

    capacity: Capacity
    resources: Resources
    gpu_type: str = ""
    assumed: str = ""

    @property
    def gpus(self) -> int:
        return self.capacity.gpus

    @property
    def devices(self) -> int:
        """How many GPUs there are, or cores where there are none."""
        return self.gpus or self.capacity.cpus

    @property
    def device(self) -> str:
        """What hours are counted of: ``GPU`` or ``core``."""
        return "GPU" if self.gpus else "core"

    @property
    def text(self) -> str:
        """The machine for people: ``8 GPUs (H100)``, ``2 cores``."""
        if not self.gpus:
            return counted(self.capacity.cpus, "core")
        memory = f"{self.capacity.gpu_memory_bytes / 1e9:.0f} GB"
        return f"{counted(self.gpus, 'GPU')} ({self.gpu_type or memory})"


def planned_machine(resources: Resources, gpus: int | None, gpu_type: str | None) -> Machine:
    """Return the cluster of so many GPUs of a type; by default what the grid's settings speak of.

    That is GPUs where they say so, and else the cores and the memory of this machine.
    InvalidInputError for a type that is not known.
    """
    if gpu_type is not None and gpu_type not in GPU_TYPES:
        raise InvalidInputError(f"--gpu: {unknown_name('type of GPU', gpu_type, GPU_TYPES)}")
    asked = gpus is not None or gpu_type is not None
    if not asked and not _speaks_of_gpus(resources):
        return _this_machine(resources)
    named = gpu_type or (resources.measure_on if resources.measure_on in GPU_TYPES else None) or ""
    memory = GPU_TYPES[named].memory_bytes if named else _GPU_MEMORY
    memory = resources.gpu_memory or memory
    number = gpus or _number_of_gpus(resources) or _GPUS
    nodes = [
        _node(min(_GPUS_PER_NODE, number - first), memory, resources)
        for first in range(0, number, _GPUS_PER_NODE)
    ]
    settings = resources.model_copy(update={"use_gpus": True, "gpu_memory": memory})
    capacity = nodes[0] if len(nodes) == 1 else Capacity.of(nodes)
    unsaid = []
    if not gpus and not _number_of_gpus(resources):
        unsaid.append("--gpus N")
    if not named:
        unsaid.append("--gpu TYPE")
    assumed = f"nobody has said which GPUs: {' and '.join(unsaid)} does" if unsaid else ""
    return Machine(capacity, settings, named, assumed)


def machine_of(capacity: Capacity, resources: Resources) -> Machine:
    """Return a cluster that is at hand, of which the grid takes what its settings let it."""
    types = {node.gpu_type for node in capacity.machines if node.gpus}
    named = next(iter(types)) if len(types) == 1 else ""
    return Machine(within(resources, capacity), resources, named if named in GPU_TYPES else "")


def _speaks_of_gpus(resources: Resources) -> bool:
    if resources.use_gpus != "auto":
        return resources.use_gpus
    return resources.gpu_memory is not None or isinstance(resources.share, NumberOfGpus)


def _number_of_gpus(resources: Resources) -> int | None:
    """Return the number of GPUs that the settings name, as a share or as the most ranks."""
    if isinstance(resources.share, NumberOfGpus):
        return resources.share.gpus
    return resources.max_ranks


def _node(gpus: int, memory_bytes: int, resources: Resources) -> Capacity:
    cpus = gpus * max(_CPUS_PER_GPU, 2 * resources.cpus_per_rank)
    return Capacity(cpus, gpus, gpu_memory_bytes=memory_bytes)


def _this_machine(resources: Resources) -> Machine:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    capacity = within(resources, Capacity(cores or 1, memory_bytes=memory_bytes))
    return Machine(replace(capacity, gpus=0), resources.model_copy(update={"use_gpus": False}))
