"""Keeps the memory that a process frees for its next use, where that saves time: in trainings.

Each step of a training on CPUs frees what the next one allocates again. By default the C library
gives large pieces back to the kernel, which hands them out again page by page, each filled with
zeros (docs/seconds.md has what that was seen to cost). Such a process ends with its stage, and all
of it is given back.
"""

import ctypes

from orchestrator.execution.stage_task import StageTask
from orchestrator.stages.stage_specs import StageKind

KEPT_BYTES = 1 << 30  # at the end of the heap, at most
# malloc.h of glibc. Pieces from the second size on are never kept; it takes none larger than this.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGEST_THRESHOLD_BYTES = -1, -3, 32 << 20


def is_worth_keeping(task: StageTask) -> bool:
    """Whether the stage's process is to keep what it frees: it trains, and on no GPU."""
    selector = task.spec.inputs.get("selector") or {}
    trains = task.spec.kind is StageKind.TRANSFER or selector.get("name") == "gates"
    return trains and not task.layout.gpus


def keep_freed_memory() -> bool:
    """Keep freed memory in this process from now on. False where its C library knows no such thing.

    Its peak may be somewhat higher, for what is kept has gaps.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept = mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD_BYTES)
    return bool(kept and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
