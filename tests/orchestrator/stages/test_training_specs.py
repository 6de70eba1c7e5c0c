"""Keys of rankings and transfers hash what changes their result, and nothing else."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from orchestrator.grid.cells import Cell, text_id
from orchestrator.stages.stage_specs import StageSpec, ranking_spec, transfer_spec
from tests.orchestrator.studies import MODEL, WIKI, cell, study
from trsp.config import (
    PAPER_DRIFT,
    PAPER_GATES,
    BlockInfluenceSettings,
    CalibrationSettings,
    DriftSettings,
    GatesSettings,
    HealSettings,
    LoraSettings,
    NoTransfer,
    RandomSettings,
    ReverseSettings,
)

OTHER_TEXT = study().text_fingerprints | {text_id(WIKI): "sha256:another wiki"}


def trained(asked: Cell, given: Any = None, layers: tuple[int, ...] = (4, 7)) -> StageSpec:
    spec = transfer_spec(asked, given or study(), layers)
    assert spec is not None
    return spec


@pytest.mark.parametrize(
    "change",
    [
        {"ratio": 0.5},
        {"drift": 0.1},
        {"transfer": NoTransfer(), "drift": None},
        {"transfer": HealSettings(), "drift": None},
    ],
    ids=["ratio", "lambda_2", "no transfer", "heal"],
)
def test_cells_share_a_ranking(change: dict[str, Any]) -> None:
    assert ranking_spec(cell(**change), study()).key == ranking_spec(cell(), study()).key


@pytest.mark.parametrize(
    "change",
    [
        {"gate_l1": 1e-3},
        {"seed": 1},
        {"selector": GatesSettings(learning_rate=0.05)},
        {"selector": GatesSettings(protect_last=1)},
        {"model": replace(MODEL, fingerprint="sha256:other")},
    ],
    ids=["lambda_1", "seed", "rate", "protection", "model"],
)
def test_cells_do_not_share_a_ranking(change: dict[str, Any]) -> None:
    assert ranking_spec(cell(**change), study()).key != ranking_spec(cell(), study()).key


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "fp32"},
        {"text_fingerprints": OTHER_TEXT},
        {"calibration": CalibrationSettings(text=WIKI, blocks=5, block_tokens=32)},
        {"calibration": CalibrationSettings(text=WIKI, blocks=4, block_tokens=64)},
        {"calibration": CalibrationSettings(text=WIKI, blocks=4, block_tokens=32, bos="never")},
        {"calibration": CalibrationSettings(text=WIKI, blocks=4, block_tokens=32, cut="stream")},
    ],
    ids=["precision", "text", "blocks", "block length", "bos", "cut"],
)
def test_what_is_read_is_part_of_rankings_and_transfers(change: dict[str, Any]) -> None:
    assert ranking_spec(cell(), study(**change)).key != ranking_spec(cell(), study()).key
    assert trained(cell(), study(**change)).key != trained(cell()).key


def test_a_ranking_does_not_know_its_depth() -> None:
    shallow, deep = ranking_spec(cell(), study(), depth=2), ranking_spec(cell(), study(), depth=7)
    assert shallow.key == deep.key
    assert (shallow.depth, deep.depth) == (2, 7)


@pytest.mark.parametrize(
    "selector",
    [BlockInfluenceSettings(), RandomSettings(), ReverseSettings()],
    ids=lambda s: s.name,
)
def test_only_gates_know_lambda_1(selector: Any) -> None:
    given = [
        ranking_spec(cell(selector=selector, gate_l1=value), study()).key
        for value in (None, 1e-3, 1e-2)
    ]
    assert len(set(given)) == 1


def test_selectors_that_read_no_text_or_seed_ignore_them() -> None:
    other = study(text_fingerprints=OTHER_TEXT, precision="fp32")
    for selector in (RandomSettings(), ReverseSettings()):
        assert (
            ranking_spec(cell(selector=selector), other).key
            == ranking_spec(cell(selector=selector), study()).key
        )
    reverse = [
        ranking_spec(cell(selector=ReverseSettings(), seed=seed), study()).key for seed in (0, 1)
    ]
    random = [
        ranking_spec(cell(selector=RandomSettings(), seed=seed), study()).key for seed in (0, 1)
    ]
    assert reverse[0] == reverse[1]
    assert random[0] != random[1]


def test_a_transfer_knows_the_set_of_layers_and_not_who_chose_them() -> None:
    keys = {trained(cell(), layers=order).key for order in permutations((2, 4, 7))}
    keys |= {trained(cell(selector=BlockInfluenceSettings(), gate_l1=None), layers=(2, 4, 7)).key}
    keys |= {trained(cell(gate_l1=0.1, ratio=0.3), layers=(2, 4, 7)).key}
    assert len(keys) == 1
    assert trained(cell(), layers=(2, 4, 8)).key not in keys


@pytest.mark.parametrize(
    "change",
    [
        {"drift": 0.1},
        {"seed": 1},
        {"transfer": DriftSettings(steps=7)},
        {"transfer": DriftSettings(norm="l1")},
    ],
)
def test_a_transfer_knows_its_settings(change: dict[str, Any]) -> None:
    assert trained(cell(**change)).key != trained(cell()).key


def test_healing_has_no_use_for_lambda_2() -> None:
    assert (
        trained(cell(transfer=HealSettings(), drift=None)).key
        == trained(cell(transfer=HealSettings(), drift=0.1)).key
    )


def test_preset_paper_spelled_out_is_the_same_work() -> None:
    gates = GatesSettings.model_validate({"preset": "paper"})
    spelled_gates = GatesSettings(**PAPER_GATES)
    assert (
        ranking_spec(cell(selector=gates), study()).key
        == ranking_spec(cell(selector=spelled_gates), study()).key
    )
    drift = DriftSettings.model_validate({"preset": "paper"})
    spelled_drift = DriftSettings(**PAPER_DRIFT)
    assert trained(cell(transfer=drift)).key == trained(cell(transfer=spelled_drift)).key
    assert ranking_spec(cell(selector=gates), study()).key != ranking_spec(cell(), study()).key


@pytest.mark.parametrize("settings", [DriftSettings, HealSettings])
def test_a_setting_that_came_later_counts_only_where_it_is_used(settings: Any) -> None:
    before, used = trained(cell(transfer=settings())), settings(lora=LoraSettings(rank=4))
    assert "lora" not in before.inputs["transfer"]
    assert trained(cell(transfer=used)).inputs["transfer"]["lora"]["rank"] == 4
    assert trained(cell(transfer=used)).key != before.key
