"""``trsp plan`` and ``trsp schema``: what they print, and by which exit code they end."""

import json
from pathlib import Path

import pytest

from orchestrator.grid.reference.json_schema import json_schema
from tests.orchestrator.sample_grids import CALIBRATION, grid_file
from tests.orchestrator.test_cli import call


@pytest.fixture
def plannable(tmp_path: Path) -> Path:
    text = tmp_path / "wiki.txt"
    text.write_text("word " * 1000, encoding="utf-8")
    source = {"name": "wiki", "path": str(text)}
    models = [{"source": "org/m", "layers": 10}]
    return grid_file(
        tmp_path / "a folder",
        models=models,
        ratios=[0.2, 0.4],
        gate_l1=[1e-3, 1e-2],
        calibration={**CALIBRATION, "text": source},
        evaluation={"perplexity": [{"text": {**source, "name": "test"}}]},
    )


def test_plan(plannable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", plannable) == 0
    printed = capsys.readouterr().out
    assert f"{plannable}: grid job, 4 cells" in printed
    assert "warning: perplexity/test is measured on the calibration text" in printed


def test_plan_as_json(plannable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", plannable, "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["cells"] == 4
    assert {"kind": "rank", "naive": 4, "at_most": 2} in plan["stages"]
    assert plan["models"] == [{"name": "m", "layers": 10, "cells": 4, "removed": [2, 4]}]


def test_a_plan_says_what_the_grid_costs(
    plannable: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--gpus", "16", "--gpu", "H100", "--price", "2.5")
    named = plannable.with_name("named.yaml")
    named.write_text(plannable.read_text().replace("org/m", "org/m-7b"))
    assert call("plan", named, *options) == 0
    printed = capsys.readouterr().out
    assert " on 16 GPUs (H100)\n" in printed
    assert " at 2.5 per GPU-hour; " in printed
    assert "\nstore: " in printed


def test_a_plan_as_json_says_what_the_grid_costs(
    plannable: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = plannable.with_name("named.yaml")
    named.write_text(plannable.read_text().replace("org/m", "org/m-7b"))
    assert call("plan", named, "--gpus", "4", "--json") == 0
    cost = json.loads(capsys.readouterr().out)["cost"]
    assert cost["machine"] == "4 GPUs (80 GB)"
    assert cost["kept_bytes"]["low"] < cost["kept_bytes"]["high"]


def test_an_unknown_type_of_gpu_is_bad_input(
    plannable: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("plan", plannable, "--gpu", "H10") == 2
    assert "did you mean 'H100'?" in capsys.readouterr().err


def test_a_plan_of_models_of_which_nothing_is_known_says_so(
    plannable: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("plan", plannable) == 0
    assert "note: counted are 0 of 1 models" in capsys.readouterr().out


def test_a_plan_with_refusals_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = grid_file(tmp_path, models=[{"source": "org/m", "layers": 10}], ratios=0.01)
    assert call("plan", file) == 2
    assert f"refused: {file}: ratio 0.01 removes none" in capsys.readouterr().out


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("schema") == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
