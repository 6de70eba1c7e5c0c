"""Numbers as people write them, and as they are shown to people."""

import json
import pickle

import pytest

from orchestrator.grid.schema import Grid
from orchestrator.grid.shorthand import WrittenNumber, as_written, shortest
from tests.orchestrator.sample_grids import grid


def test_a_ratio_remembers_how_it_was_written() -> None:
    assert [as_written(ratio) for ratio in grid(ratios=["1/6", " 10 % ", 0.2]).ratios] == [
        "1/6",
        "10%",
        "0.2",
    ]


def test_a_ratio_is_the_number_that_it_says() -> None:
    assert grid(ratios="1/6").ratios == (1 / 6,)
    assert json.dumps(grid(ratios="1/6").ratios) == json.dumps((1 / 6,))
    assert repr(grid(ratios="1/6").ratios[0]) == repr(1 / 6)


def test_a_grid_that_was_saved_as_json_names_ratios_as_its_file_did() -> None:
    saved = grid(ratios=["1/6", 0.2]).model_dump(mode="json")
    assert saved["ratios"] == ["1/6", 0.2]
    assert as_written(Grid.model_validate(saved).ratios[0]) == "1/6"


def test_a_written_number_goes_to_other_processes_as_it_is() -> None:
    there = pickle.loads(pickle.dumps(WrittenNumber(1 / 6, "1/6")))
    assert (there, as_written(there)) == (1 / 6, "1/6")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (0.02, "0.02"),
        (5e-3, "5e-3"),
        (1e-5, "1e-5"),
        (0.0125, "0.0125"),
        (100000.0, "1e5"),
        (0.12345678, "0.12345678"),
    ],
)
def test_the_shortest_way_to_write_a_number(value: float, text: str) -> None:
    assert shortest(value) == text
