"""Repeats of a piece of work, timed one by one, and whether something else disturbed them.

Knows no models.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median, stdev

import torch

from trsp.distributed.device import synchronize
from trsp.records import Spread

MAX_SPREAD = 0.10  # of a repeat's standard deviation by the mean; beyond it, figures are noisy
MAX_CPU_WAIT = 0.10  # of the time that threads could have run; beyond it, others took their CPUs
_TASKS = Path("/proc/self/task")


@dataclass(frozen=True)
class Timing:
    """Wall times of one piece of work: their mean, in seconds, and each in milliseconds."""

    mean_s: float
    each_ms: tuple[float, ...]

    @property
    def spread(self) -> Spread:
        """How far apart the repeats lie."""
        each = self.each_ms
        deviation = stdev(each) if len(each) > 1 else 0.0
        return Spread(repeats=len(each), median_ms=median(each), stdev_ms=deviation)

    @property
    def relative_spread(self) -> float:
        """The standard deviation of the repeats by their mean."""
        mean_ms = fmean(self.each_ms)
        return self.spread.stdev_ms / mean_ms if mean_ms else 0.0


def time_repeats(
    work: Callable[[], object], repeats: int, devices: Sequence[torch.device]
) -> Timing:
    """Time ``work``, after one call that does not count.

    The mean is that of all repeats in a row. On accelerators each is timed by events in the queue
    of the first, so that nothing waits between two of them.
    """
    work()
    synchronize(*devices)
    marks = [_mark(devices[0])]
    started = time.perf_counter()
    for _ in range(repeats):
        work()
        marks.append(_mark(devices[0]))
    synchronize(*devices)
    mean_s = (time.perf_counter() - started) / repeats
    return Timing(mean_s, tuple(_between_ms(begin, end) for begin, end in pairwise(marks)))


def _mark(device: torch.device) -> torch.cuda.Event | float:
    """Return this moment: a point in the accelerator's queue, or on the clock, in seconds."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def _between_ms(begin: torch.cuda.Event | float, end: torch.cuda.Event | float) -> float:
    """Return the milliseconds between two marks of one device, after it was synchronised."""
    if isinstance(begin, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        return float(begin.elapsed_time(end))
    assert isinstance(begin, float)
    assert isinstance(end, float)
    return 1000 * (end - begin)


class CpuWait:
    """How long threads of this process waited for a CPU that somebody else had, since it began."""

    def __init__(self) -> None:
        self._ran, self._waited = _cpu_seconds()

    def share(self) -> float:
        """Return the share of the time in which threads could have run; 0 where it is not known."""
        ran, waited = _cpu_seconds()
        ran, waited = max(0.0, ran - self._ran), max(0.0, waited - self._waited)
        return waited / (ran + waited) if ran + waited else 0.0


def _cpu_seconds() -> tuple[float, float]:
    """Return how long all threads of this process ran and waited to run, in seconds.

    From Linux's ``/proc/self/task/*/schedstat``; zeros where there is none.
    """
    ran_ns = waited_ns = 0
    for path in _TASKS.glob("*/schedstat"):
        with suppress(OSError, ValueError):  # the thread has ended, or the kernel counts nothing
            ran, waited, _ = map(int, path.read_text(encoding="ascii").split())
            ran_ns, waited_ns = ran_ns + ran, waited_ns + waited
    return ran_ns / 1e9, waited_ns / 1e9
