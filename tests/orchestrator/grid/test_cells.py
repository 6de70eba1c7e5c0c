"""Cells: their names, keys and the number of layers that a ratio means."""

import pytest

from orchestrator.grid.axes import AXES
from orchestrator.grid.keys import canonical_json, content_key
from orchestrator.grid.labels import method_labels
from tests.orchestrator.studies import MODEL, cell
from trsp.config import (
    BlockInfluenceSettings,
    DriftSettings,
    GatesSettings,
    HealSettings,
    LoraSettings,
    NoTransfer,
    RandomSettings,
)


@pytest.mark.parametrize(
    ("ratio", "removed"), [(0.1, 1), (0.25, 3), (0.24, 2), (0.05, 1), (0.04, 0), (0.99, 10)]
)
def test_a_ratio_is_rounded_half_up(ratio: float, removed: int) -> None:
    assert cell(ratio=ratio).removed == removed


def test_half_is_rounded_up_where_pythons_own_rounding_goes_to_even() -> None:
    assert cell(ratio=0.25).removed == 3
    assert round(0.25 * MODEL.layers) == 2


def test_canonical_json_does_not_depend_on_the_order_of_keys_and_refuses_nan() -> None:
    assert (
        canonical_json({"b": 1, "a": [1, 2]})
        == canonical_json({"a": [1, 2], "b": 1})
        == '{"a":[1,2],"b":1}'
    )
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_a_content_key_names_its_kind() -> None:
    key = content_key("rank", {"a": 1})
    assert key.startswith("rank-")
    assert len(key) == len("rank-") + 24
    assert (
        key == "rank-015abd7f5cc57a2dd94b7590"
    )  # the sha256 of {"a":1}, as any other program computes it


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


def test_a_name_holds_what_a_person_tells_cells_apart_by() -> None:
    assert cell().name == "tiny r=0.2 gates l1=0.005 drift l2=0.001"
    assert cell(seed=3).name.endswith(" seed=3")
    plain = cell(selector=BlockInfluenceSettings(), gate_l1=None, transfer=NoTransfer(), drift=None)
    assert plain.name == "tiny r=0.2 block_influence none"


def test_labels_tell_methods_of_one_name_apart_and_say_no_more() -> None:
    paper = GatesSettings.model_validate({"preset": "paper"})
    assert method_labels([GatesSettings(), BlockInfluenceSettings()]) == [
        "gates",
        "block_influence",
    ]
    assert method_labels([GatesSettings(), paper])[1] == "gates(paper)"
    assert method_labels([DriftSettings(steps=3), DriftSettings(steps=5)]) == [
        "drift(steps=3)",
        "drift(steps=5)",
    ]
    adapters = LoraSettings(rank=4)
    assert method_labels([DriftSettings(), DriftSettings(lora=adapters)]) == [
        "drift",
        "drift(lora(rank=4))",
    ]
    assert method_labels([DriftSettings(), DriftSettings(lora=LoraSettings())])[1] == "drift(lora)"
    published = [DriftSettings(preset="paper", lora=lora) for lora in (None, adapters)]
    assert method_labels([DriftSettings(), *published]) == [
        "drift",
        "drift(paper)",
        "drift(paper,lora(rank=4))",
    ]
