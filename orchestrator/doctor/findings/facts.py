"""What probes measure, as plain data that travels between nodes. Times are in seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Software:
    """What a process would run: Python, the versions of libraries, and our own code by a hash."""

    python: str
    libraries: Mapping[str, str]  # an absent one is not among them
    code: str  # equal for equal sources of trsp and orchestrator


@dataclass(frozen=True)
class FreeSpace:
    """The bytes free where something is to be written. ``error``: why it cannot be."""

    name: str
    path: str
    free_bytes: int
    error: str = ""


@dataclass(frozen=True)
class Gpu:
    """A device as its driver describes it (nvidia-smi)."""

    name: str
    driver: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class TorchDevice:
    """What torch makes of a GPU that Ray has given to a process; ``error``: why nothing."""

    name: str = ""
    cuda: str = ""
    capability: tuple[int, int] = (0, 0)
    has_bf16: bool = False
    total_bytes: int = 0
    free_bytes: int = 0
    error: str = ""


@dataclass(frozen=True)
class NodeState:
    """What can be said of a node without taking any of its resources.

    ``clock``: what its clock showed then, in seconds since the epoch.
    """

    software: Software
    space: tuple[FreeSpace, ...]
    gpus: tuple[Gpu, ...] = ()
    clock: float = 0.0


@dataclass(frozen=True)
class StoreUse:
    """What came of using the store from one place.

    ``seconds``: of each operation that worked. ``sees_driver``: whether what the driver wrote can
    be read. ``is_exclusive``: whether of two that create one file only the first does, as claims
    need it. ``failed``: the operation that did not work, and ``error``, why.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    sees_driver: bool = False
    is_exclusive: bool = False
    failed: str = ""
    error: str = ""


@dataclass(frozen=True)
class SourceState:
    """A model or text of the grid, as one place finds it.

    ``content``: equal where names, sizes and both ends of all files are equal; of a hub source its
    commit; empty where nothing was found. ``is_cached``: a hub source that was downloaded before.
    """

    name: str
    is_local: bool
    content: str = ""
    size_bytes: int = 0
    is_cached: bool = False
    error: str = ""


@dataclass(frozen=True)
class TrackingUse:
    """The seconds that each operation on the tracking server took."""

    seconds: Mapping[str, float]


@dataclass(frozen=True)
class TrainingMemory:
    """Peak memory of a small training beside its estimate, in bytes.

    ``runtime`` is what is there before any model: libraries on a CPU, CUDA's context on a GPU. The
    other two are without it.
    """

    device: str  # cpu, or Ray's type of the GPU
    estimated_bytes: int
    measured_bytes: int
    runtime_bytes: int
    estimated_runtime_bytes: int
