"""Cells: their names, keys and the number of layers that a ratio means."""

from dataclasses import replace

import pytest

from orchestrator.grid.axes import AXES
from tests.orchestrator.studies import MODEL, cell
from trsp.config import HealSettings, RandomSettings


@pytest.mark.parametrize(
    ("ratio", "removed"), [(0.1, 1), (0.25, 3), (0.24, 2), (0.05, 1), (0.04, 0), (0.99, 10)]
)
def test_a_ratio_is_rounded_half_up(ratio: float, removed: int) -> None:
    assert cell(ratio=ratio).removed == removed


def test_half_is_rounded_up_where_pythons_own_rounding_goes_to_even() -> None:
    assert cell(ratio=0.25).removed == 3
    assert round(0.25 * MODEL.layers) == 2


def test_every_axis_changes_the_key_of_a_cell() -> None:
    changes = {
        "models": {"model": MODEL.__class__("tiny", "/models/tiny", None, "sha256:other", 10)},
        "selectors": {"selector": RandomSettings()},
        "ratios": {"ratio": 0.3},
        "gate_l1": {"gate_l1": 1e-3},
        "drift": {"drift": 1e-2},
        "transfer": {"transfer": HealSettings()},
        "seeds": {"seed": 1},
    }
    assert changes.keys() == set(AXES)
    keys = {cell().key, *(cell(**change).key for change in changes.values())}
    assert len(keys) == 1 + len(AXES)


def test_equal_cells_have_one_key_wherever_the_model_lies() -> None:
    moved = MODEL.__class__("another-name", "/elsewhere", None, MODEL.fingerprint, MODEL.layers)
    assert cell(model=moved, selector_label="x").key == cell().key
    assert cell(ratio=0.21).key == cell(ratio=0.2).key  # both remove 2 of 10 layers


def test_a_cells_full_name_ends_with_its_model() -> None:
    assert replace(cell(), name="20% gates").full_name == "20% gates tiny"


def test_a_name_that_has_the_model_is_the_full_name() -> None:
    assert replace(cell(), name="20% gates tiny").full_name == "20% gates tiny"
