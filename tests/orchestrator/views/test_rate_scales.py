"""A result that was computed at half the learning rate says so wherever it is shown."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.cli import main
from orchestrator.report.model_cards import cell_card
from orchestrator.report.standing.status_tables import print_status
from orchestrator.stages.stage_specs import StageKind, ranking_spec
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.tracking.content.describe import described_runs
from orchestrator.tracking.content.states import RunState
from orchestrator.views.grid_view import GridView
from tests.orchestrator.fake_launcher import (
    FakeLauncher,
    controller_of,
    drive,
    resolved,
    store_of,
)
from tests.orchestrator.fresh_view import view_of
from tests.orchestrator.looked_at import looks_at
from tests.orchestrator.sample_grids import grid_file
from tests.orchestrator.store.sample_stage import unclaimed
from trsp.records import RoundRecord

DIVERGED = Failure("TrainingDivergedError", "the loss is nan", FailureKind.DIVERGED)
IN_WORDS = "rank at 0.5 of the learning rate, transfer at 0.5 of the learning rate"


@pytest.fixture
def view(tmp_path: Path) -> GridView:
    """A finished grid of two cells: the ranking of one, and its stage two, diverged once."""
    launcher = FakeLauncher(
        slots=1, fail=[(StageKind.RANKING, DIVERGED), (StageKind.TRANSFER, DIVERGED)]
    )
    return drive(controller_of(resolved(tmp_path, ratios=[0.5]), launcher))


def runs(view: GridView, kind: str) -> list[RunState]:
    return [described.state() for described in described_runs(view) if described.kind == kind]


def test_the_view_tells_a_slowed_cell_from_another(view: GridView) -> None:
    assert [dict(cell.rate_scales) for cell in view.cells] == [{"rank": 0.5, "transfer": 0.5}, {}]
    assert [cell.slowed for cell in view.cells] == [IN_WORDS, ""]
    assert [ranking.slowed for ranking in view.rankings] == ["rank at 0.5 of the learning rate", ""]


def test_only_the_rounds_that_a_cell_uses_count(tmp_path: Path) -> None:
    grid = resolved(tmp_path, gate_l1=1e-3)
    rankings, key = store_of(grid).rankings, ranking_spec(grid.cells[0], grid.study).key
    for number, layer in enumerate((8, 7, 6, 5, 4)):
        scale = 1.0 if number < 2 else 0.5
        rankings.publish(unclaimed(key), RoundRecord(round=number, layer=layer, rate_scale=scale))
    view = view_of(grid)
    assert [dict(cell.rate_scales) for cell in view.cells] == [{}, {"rank": 0.5}]


def test_the_card_says_so(view: GridView) -> None:
    slowed, plain = (cell_card(cell, None) for cell in view.cells)
    for kind in ("rank", "transfer"):
        row = f"| {kind} learning rate | 0.5 of its setting, at the whole of which it diverged |"
        assert row in slowed
    assert "learning rate" not in plain


def test_the_runs_in_mlflow_say_so(view: GridView) -> None:
    slowed, plain = runs(view, "cell")
    assert {name: value for name, value in slowed.tags.items() if "rate_scale" in name} == {
        "trsp.rate_scale.rank": "0.5",
        "trsp.rate_scale.transfer": "0.5",
    }
    assert IN_WORDS in slowed.note
    assert slowed.model is not None
    assert IN_WORDS in slowed.model.note
    assert not [name for name in plain.tags if "rate_scale" in name]
    assert [run.tags["trsp.rate_scale"] for run in runs(view, "rank")] == ["0.5", ""]


def test_status_says_so(view: GridView) -> None:
    out = StringIO()
    print_status(view, ("perplexity/wiki",), Console(file=out, width=300))
    assert out.getvalue().count(f"done ({IN_WORDS})") == 1


@pytest.fixture
def grid(tmp_path: Path, view: GridView, monkeypatch: pytest.MonkeyPatch) -> Path:
    looks_at(monkeypatch, lambda _: view)
    return grid_file(tmp_path)


def test_best_says_so(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["best", str(grid), "--max-params", "110"])
    printed = capsys.readouterr().out
    assert f" comes of {IN_WORDS}: it diverged at the whole" in printed


def test_best_for_programs_says_so(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["best", str(grid), "--max-params", "110", "--json"])
    (choice,) = json.loads(capsys.readouterr().out)
    both = [choice["best"]["rate_scales"], choice["runner_up"]["rate_scales"]]
    assert {"rank": 0.5, "transfer": 0.5} in both
    assert {} in both
