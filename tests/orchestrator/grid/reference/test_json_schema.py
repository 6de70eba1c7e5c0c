"""The JSON Schema of grid files: as shipped, as strict as the types, and in words for people."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.grid.reference.json_schema import json_schema
from orchestrator.grid.schema import Grid
from tests.orchestrator.sample_grids import CALIBRATION


def test_the_shipped_schema_is_up_to_date() -> None:
    shipped = Path(__file__).resolve().parents[4] / "orchestrator" / "grid.schema.json"
    assert json.loads(shipped.read_text(encoding="utf-8")) == json_schema(), (
        "run: trsp schema > orchestrator/grid.schema.json"
    )


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({}, True),
        (
            {
                "ratios": "25%",
                "selectors": ["gates", {"name": "sleb"}],
                "models": [{"source": "a"}, "b"],
            },
            True,
        ),
        ({"budgets": [{"max_params": "110M"}], "zip": [["ratios", "drift"]]}, True),
        ({"ratioss": 0.25}, False),
        ({"selectors": "gate"}, False),
        ({"transfer": [{"name": "drift", "stepz": 4}]}, False),
        ({"selectors": [{"protect_first": 1}]}, False),
        ({"calibration": {}}, False),
        ({"precision": "fp8"}, False),
    ],
)
def test_the_schema_and_the_types_agree(changes: dict[str, Any], valid: bool) -> None:
    data = {
        "models": "m",
        "calibration": CALIBRATION,
        "evaluation": {"perplexity": [{"text": CALIBRATION["text"]}]},
    } | changes
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(data) is valid
    if valid:
        Grid.model_validate(data)


def test_every_selector_and_transfer_may_be_written_by_its_name_alone() -> None:
    schema = json_schema()
    properties = [each["properties"] for each in schema["$defs"].values()]
    named = {each["name"]["const"] for each in properties if "const" in each.get("name", {})}
    axes = [schema["properties"][axis] for axis in ("selectors", "transfer")]
    either = jsonschema.Draft202012Validator({"anyOf": axes, "$defs": schema["$defs"]})
    assert "gates" in named
    assert not [name for name in named if not either.is_valid(name)]
