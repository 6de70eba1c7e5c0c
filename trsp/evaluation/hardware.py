"""A label for the hardware that speed is measured on, and what can be read off one.

Asks the kernel and knows no torch: the driver reads it too.
"""

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

ANY_GPU = "GPU"  # of a cluster whose GPUs come only when asked for, and of a type not known before
_GPUS = Path("/proc/driver/nvidia/gpus")
_CPU = Path("/proc/cpuinfo")
_THREADS = re.compile(r", \d+ threads?$")


def hardware_name(threads: int | None = None) -> str:
    """Return ``NVIDIA H100 80GB HBM3``, or ``AMD EPYC 7B13, 2 threads`` where there is no GPU.

    A GPU that this process may not use counts as none. ``threads``: how many the work is given;
    default: what this process may use.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    gpu = None if hidden else _first(_GPUS.glob("*/information"), "Model")
    if gpu:
        return gpu
    return cpu_name(threads or int(os.environ.get("OMP_NUM_THREADS") or available_cpus()))


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_name(threads: int) -> str:
    """Return ``AMD EPYC 7B13, 2 threads``."""
    cpu = _first([_CPU], "model name") or platform.machine()
    return f"{cpu}, {threads} thread{'s' if threads > 1 else ''}"


def is_cpu(hardware: str) -> bool:
    """Whether a label of hardware, such as a key has, stands for a CPU; an empty one does, too."""
    return hardware in ("", "cpu") or bool(_THREADS.search(hardware))


def is_same_kind(asked: str, seen: str) -> bool:
    """Whether ``seen`` may be called ``asked``.

    Two CPUs may: a cluster knows no types of CPU. A GPU goes by the words of its type, as in
    ``A100-80G`` for ``NVIDIA A100-SXM4-80GB``; whole words, for an L40S is no L4. Any may be called
    ANY_GPU.
    """
    if is_cpu(asked) or is_cpu(seen):
        return is_cpu(asked) and is_cpu(seen)
    if asked == ANY_GPU:
        return True
    return all(word in _words(seen) | _sizes(seen) for word in _words(asked))


def _words(label: str) -> set[str]:
    return set(re.findall(r"\w+", label.casefold()))


def _sizes(label: str) -> set[str]:
    """Return the sizes of memory in a label as types of accelerator write them: ``80g``."""
    return set(re.findall(r"\b(\d+g)b\b", label.casefold()))


def _first(paths: Iterable[Path], key: str) -> str | None:
    """Return the value of the first ``key: value`` line of the first file that has one."""
    line = re.compile(rf"^{key}\s*:\s*(.+?)\s*$", re.MULTILINE)
    for path in sorted(paths):
        match = line.search(path.read_text()) if path.is_file() else None
        if match:
            return match[1]
    return None
