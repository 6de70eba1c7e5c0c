"""A label for the hardware that speed was measured on.

Asks the kernel and knows no torch: the driver reads it too.
"""

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

_GPUS = Path("/proc/driver/nvidia/gpus")
_CPU = Path("/proc/cpuinfo")


def hardware_name(threads: int | None = None) -> str:
    """Return ``NVIDIA H100 80GB HBM3``, or ``AMD EPYC 7B13, 2 threads`` where there is no GPU.

    A GPU that this process may not use counts as none. ``threads``: how many the work is given;
    default: what this process may use.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    gpu = None if hidden else _first(_GPUS.glob("*/information"), "Model")
    if gpu:
        return gpu
    threads = threads or int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    cpu = _first([_CPU], "model name") or platform.machine()
    return f"{cpu}, {threads} thread{'s' if threads > 1 else ''}"


def _first(paths: Iterable[Path], key: str) -> str | None:
    """Return the value of the first ``key: value`` line of the first file that has one."""
    line = re.compile(rf"^{key}\s*:\s*(.+?)\s*$", re.MULTILINE)
    for path in sorted(paths):
        match = line.search(path.read_text()) if path.is_file() else None
        if match:
            return match[1]
    return None
