"""The measurements that a grid rests on: which there are, and which are meant."""

from pathlib import Path

import pytest

from orchestrator.store.results import StoreResults
from orchestrator.views.measurements import Measurement, Selection, measurements
from tests.orchestrator.fake_launcher import (
    FakeLauncher,
    controller_of,
    drive,
    resolved,
    store_of,
)
from trsp.errors import InvalidInputError
from trsp.records import MeasurementRecord

FIGURES = dict.fromkeys(
    ("prompt_latency_ms", "prompt_tokens_per_s", "generate_latency_ms", "generate_tokens_per_s"), 1
)


def record(noise: str | None) -> MeasurementRecord:
    return MeasurementRecord(hardware="cpu", peak_memory_bytes=1, noise=noise, **FIGURES)


QUIET = Measurement("measure-1", "a", 10, (), record(""))
NOISY = Measurement("measure-2", "a", 8, ("one", "two"), record("others computed on cpu meanwhile"))
OLD = Measurement("measure-3", "b", 8, ("three",), record(None))
MISSING = Measurement("measure-4", "b", 7, ("four",), None)
ALL = (QUIET, NOISY, OLD, MISSING)


def test_cells_of_one_shape_share_a_measurement(tmp_path: Path) -> None:
    grid = resolved(tmp_path)
    assert [each.record for each in measurements(grid, StoreResults(store_of(grid)))] == [None]
    drive(controller_of(grid, FakeLauncher()))
    found = measurements(grid, StoreResults(store_of(grid)))
    assert [(each.layers, len(each.cells)) for each in found] == [(10, 0), (8, 2), (5, 2)]
    assert all(each.is_sound for each in found)


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(), ALL),
        (Selection(models=("a",)), (QUIET, NOISY)),
        (Selection(cells=("two", "four")), (NOISY, MISSING)),
        (Selection(doubtful=True), (NOISY, OLD, MISSING)),
        (Selection(models=("b",), doubtful=True), (OLD, MISSING)),
    ],
)
def test_a_selection(selection: Selection, chosen: tuple[Measurement, ...]) -> None:
    assert selection.of(ALL) == chosen


def test_a_name_that_nothing_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown cell 'tow': known are .* mean 'two'"):
        Selection(cells=("tow",)).of(ALL)
