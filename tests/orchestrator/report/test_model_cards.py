"""The card of a finished cell says what it is, how it was made and how good it is."""

from dataclasses import replace
from pathlib import Path

import yaml

from orchestrator.grid.shorthand import WrittenNumber
from orchestrator.report.model_cards import cell_card
from orchestrator.views.grid_view import GridView
from tests.orchestrator.fake_launcher import FakeLauncher, controller_of, drive, resolved


def finished(folder: Path) -> GridView:
    return drive(controller_of(resolved(folder, ratios=[0.5], gate_l1=1e-3), FakeLauncher()))


def test_a_card_holds_the_layers_the_settings_and_both_scores(tmp_path: Path) -> None:
    view = finished(tmp_path)
    cell = view.cells[0]
    card = cell_card(cell, view.dense[0])
    _, front, body = card.split("---\n", 2)
    assert isinstance(yaml.safe_load(front), dict)
    assert cell.cell.name in body
    assert "4, 5, 6, 7, 8" in body
    for setting in ("gates", "0.5", "0.001", "drift", *cell.stage_keys.values()):
        assert str(setting) in body, setting
    row = next(line for line in body.splitlines() if "perplexity/wiki" in line)
    assert row.count("20") == 2, "the checkpoint's and the dense model's"


def test_a_card_names_the_ratio_as_it_was_written(tmp_path: Path) -> None:
    view = finished(tmp_path).cells[0]
    cell = replace(view.cell, ratio=WrittenNumber(1 / 6, "1/6"))
    assert "| ratio | 1/6 |" in cell_card(replace(view, cell=cell), None)


def test_a_card_does_without_a_reference(tmp_path: Path) -> None:
    view = finished(tmp_path)
    row = next(
        line for line in cell_card(view.cells[0], None).splitlines() if "perplexity/wiki" in line
    )
    assert row.count("20") == 1


def test_a_card_says_what_the_scores_were_computed_with(tmp_path: Path) -> None:
    view = finished(tmp_path)
    versions = {"evaluate": {"torch": "2.9.0", "device": "cpu"}}
    cell = replace(view.cells[0], versions=versions)
    assert "| computed with | torch 2.9.0, device cpu |" in cell_card(cell, None)
