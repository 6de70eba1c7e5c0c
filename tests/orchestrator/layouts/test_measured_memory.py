"""The estimate of memory against real ranks: two rows of benchmarks/memory.py.

Every row of it is to be within 15 %.
"""

import pytest

from benchmarks.memory import RUNS, measure
from orchestrator.layouts.peak import peak

ROWS = ("transfer, ZeRO 2, checkpointing", "gates, ZeRO 3, 2 ranks")


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_the_estimate_is_within_15_percent_of_the_measured_peak(name: str) -> None:
    (run,) = (run for run in RUNS if run.name == name)
    assert peak(run.shape, run.work, run.layout).host.total == pytest.approx(measure(run), rel=0.15)
