"""Repeats timed one by one, and how much others took of this process's CPUs."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from trsp.evaluation.noise import CpuWait, Timing, time_repeats

CPU = torch.device("cpu")


def test_the_first_call_does_not_count_and_each_repeat_has_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock_s, lasts_s = 0.0, iter([0.2, 0.01, 0.03])

    def work() -> None:
        nonlocal clock_s
        clock_s += next(lasts_s)

    fake = SimpleNamespace(perf_counter=lambda: clock_s)
    monkeypatch.setattr("trsp.evaluation.noise.time", fake)
    timing = time_repeats(work, 2, [CPU])
    assert timing.each_ms == pytest.approx([10, 30])
    assert timing.mean_s == pytest.approx(0.02)


def test_the_spread_is_that_of_the_repeats() -> None:
    timing = Timing(0.02, (10.0, 20.0, 30.0))
    assert (timing.spread.median_ms, timing.spread.stdev_ms) == (20, 10)
    assert timing.relative_spread == pytest.approx(0.5)
    assert Timing(0.01, (10.0,)).spread.stdev_ms == 0


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_threads_that_wait_for_a_cpu_are_seen() -> None:
    """Three processes spin on the one CPU that this one may use."""
    usable = os.sched_getaffinity(0)
    code = "import time; end = time.monotonic() + 20\nwhile time.monotonic() < end: pass"
    try:
        os.sched_setaffinity(0, {min(usable)})
        others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
        time.sleep(0.2)
        wait = CpuWait()
        spin(1)
        assert wait.share() > 0.3
    finally:
        os.sched_setaffinity(0, usable)
        for other in others:
            other.kill()
            other.wait()
