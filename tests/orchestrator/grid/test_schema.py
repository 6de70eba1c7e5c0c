"""The grid file: what is accepted, and what is said of what is not."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.grid.schema import Grid, load_grid
from tests.orchestrator.sample_grids import CALIBRATION, grid, grid_file, refusal
from trsp.config import BlockInfluenceSettings, DriftSettings, GatesSettings, NoTransfer


def test_only_models_and_a_text_are_required() -> None:
    found = Grid.model_validate(
        {"models": "org/Some-Model", "calibration": {"text": CALIBRATION["text"]}}
    )
    assert found.models[0].name == "Some-Model"
    assert (found.selectors, found.transfer) == ((GatesSettings(),), (DriftSettings(),))
    assert (found.ratios, found.gate_l1, found.drift, found.seeds) == (
        (0.25,),
        (5e-3,),
        None,
        (0,),
    )


def test_short_forms() -> None:
    found = grid(
        models={"source": "/models/x y/z", "name": "z1"},
        selectors=["gates", {"name": "block_influence", "protect_first": 2}],
        ratios=["1/4", "10%", 0.5, "2e-1"],
        gate_l1="1e-4",
        transfer="none",
        seeds=3,
    )
    assert found.ratios == (0.25, 0.1, 0.5, 0.2)
    assert (found.gate_l1, found.seeds) == ((1e-4,), (3,))
    assert found.selectors == (GatesSettings(), BlockInfluenceSettings(protect_first=2))
    assert found.transfer == (NoTransfer(),)
    assert found.models[0].name == "z1"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"ratioss": 0.1},
            ["unknown key 'ratioss'", "known are budgets, calibration", "did you mean 'ratios'?"],
        ),
        (
            {"calibration": {**CALIBRATION, "block": 3}},
            ["calibration: unknown key 'block'", "did you mean 'blocks'?"],
        ),
        (
            {"selectors": "gate"},
            ["selectors[0]: unknown selector 'gate'", "sleb", "did you mean 'gates'?"],
        ),
        (
            {"selectors": [{"name": "gates", "placment": "output"}]},
            ["selectors[0].gates", "did you mean 'placement'?"],
        ),
        ({"selectors": [{"protect_first": 1}]}, ["selectors[0]", "is missing its 'name'"]),
        ({"transfer": "heel"}, ["transfer[0]: unknown transfer 'heel'", "did you mean 'heal'?"]),
        ({"ratios": [0.1, 1.5]}, ["ratios[1]: ratio 1.5 is outside (0, 1)"]),
        ({"ratios": 0}, ["ratios[0]: ratio 0 is outside (0, 1)"]),
        ({"ratios": "a quarter"}, ["'a quarter' is not a number", "1/4"]),
        ({"ratios": "1/0"}, ["'1/0' is not a number"]),
        ({"ratios": True}, ["True is not a number"]),
        ({"gate_l1": ".nan"}, ["'.nan' is not a number"]),
        ({"drift": "inf"}, ["drift[0]"]),
        ({"seeds": []}, ["seeds: is empty; give at least one value"]),
        ({"models": []}, ["models: is empty"]),
        ({"models": None}, ["models: is missing"]),
        ({"models": ["a/m", "b/m"]}, ["model name 'm' is used twice"]),
        ({"precision": "fp8"}, ["precision: 'fp8' is not allowed", "'bf16'"]),
        ({"zip": [["ratios", "gate_l1"]], "ratios": [0.1, 0.2]}, ["ratios has 2, gate_l1 has 1"]),
        ({"zip": [["ratios"]]}, ["name at least two axes"]),
        ({"zip": [["ratios", "drift"], ["drift", "seeds"]]}, ["'drift' stands there twice"]),
        ({"zip": [["ratio", "drift"]]}, ["'ratio' is not allowed", "'ratios'"]),
        ({"include": [{}]}, ["include[0]: names no axis"]),
        ({"exclude": [{"models": "n"}]}, ["unknown model 'n': known are m"]),
        (
            {"budgets": [{"max_params": "many"}]},
            ["budgets[0].max_params: 'many' is not a quantity", "110M"],
        ),
        ({"budgets": [{"max_bytes": "2XB"}]}, ["'2XB' is not a quantity", "GIB"]),
        (
            {"budgets": [{"max_params": 1, "metric": "perplexity/wikki"}]},
            ["did you mean 'perplexity/wiki'?"],
        ),
        (
            {"budgets": [{"max_params": "1k"}, {"max_params": 1000}]},
            ["'best-params-1k' is used twice"],
        ),
        (
            {"budgets": [{"max_latency_ms": 5}], "measurement": {"protocol": "none"}},
            ["measurement.protocol is none"],
        ),
    ],
)
def test_refusals_say_what_came_and_what_is_allowed(
    tmp_path: Path, changes: dict[str, Any], said: list[str]
) -> None:
    file = grid_file(tmp_path, **changes)
    text = refusal(file)
    assert text.startswith(f"{file}: ")
    for part in said:
        assert part in text


def test_the_name_is_the_files(tmp_path: Path) -> None:
    file = grid_file(tmp_path / "a folder")
    assert load_grid(file).name == "job"
    assert load_grid(str(file)).name == "job"
    assert load_grid(grid_file(tmp_path, name="other")).name == "other"


def test_what_is_resolved_is_a_grid_again() -> None:
    found = grid(
        selectors=[{"name": "gates", "preset": "paper"}],
        ratios="1/3",
        budgets=[{"max_params": "2M"}],
    )
    assert Grid.model_validate(found.model_dump(mode="json")) == found
