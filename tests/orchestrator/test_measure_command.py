"""``trsp measure``, and what every command says of latencies that are in doubt."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.grid.schema import Grid, load_grid
from orchestrator.kept_grids.lookup import look_up
from orchestrator.run import measurements_of, run_grid
from orchestrator.store.store import Store
from orchestrator.views.grid_view import CellView, GridView, Status
from orchestrator.views.measurements import Selection
from tests.orchestrator.fake_launcher import FakeLauncher
from tests.orchestrator.looked_at import looks_at
from tests.orchestrator.sample_grids import grid_file, scored
from trsp.records import MeasurementRecord, Spread

NOISE = "prompt latencies spread by 43% of their mean"


def measured(seed: int, latency_ms: float, noise: str | None) -> CellView:
    record = MeasurementRecord(
        hardware="cpu",
        prompt_latency_ms=latency_ms,
        prompt_tokens_per_s=1,
        prompt_spread=Spread(repeats=3, median_ms=latency_ms, stdev_ms=2.5),
        generate_latency_ms=2,
        generate_tokens_per_s=1,
        peak_memory_bytes=1,
        noise=noise,
    )
    return replace(scored(seed, 90, 30.0 + seed), measurement=record)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid of three cells that are done: one measured noisily, one of old, one quietly."""
    cells = (measured(1, 300, NOISE), measured(2, 200, None), measured(3, 100, ""))

    def view(grid: Grid) -> GridView:
        return GridView("grid-0", grid.name, cells, (), (), status=Status.DONE)

    looks_at(monkeypatch, view)
    return grid_file(tmp_path)


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_best_by_latency_names_what_is_in_doubt(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("best", file, "--max-latency-ms", "500") == 0
    printed = capsys.readouterr().out
    first = scored(1, 90, 30.0).cell.name
    assert f"warning: the latency of {first} is in doubt: noisy: {NOISE}" in printed
    assert "is in doubt: measured before devices were locked" in printed
    assert "300 noisy" in printed


def test_best_by_latency_names_it_for_programs_too(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("best", file, "--max-latency-ms", "500", "--json") == 0
    (choice,) = json.loads(capsys.readouterr().out)
    assert [NOISE in warning for warning in choice["warnings"]] == [True, False]
    assert choice["best"]["latency_doubt"] == f"noisy: {NOISE}"


def test_a_budget_without_latency_is_not_warned_of_it(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("best", file, "--max-params", "500") == 0
    assert "doubt" not in capsys.readouterr().out


def test_status_marks_noisy_latencies(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("status", file) == 0
    printed = capsys.readouterr().out
    assert "300 noisy" in printed
    assert printed.count("noisy") == 1


# --- measuring again ----------------------------------------------------------


@pytest.fixture
def grid(one_cell_file: Path) -> Path:
    """A grid file whose one cell is done, by made-up stages."""
    assert run_grid(one_cell_file, launcher=FakeLauncher()) == 0
    return one_cell_file


def run_again(file: Path, selection: Selection) -> list[str]:
    """Measure again and return the keys of the stages that ran."""
    launcher = FakeLauncher()
    assert run_grid(file, launcher=launcher, measure_again=selection) == 0
    return launcher.started_keys()


def measurement_keys(file: Path) -> dict[int, str]:
    """The keys of the grid's measurements by the number of layers."""
    return {each.layers: each.key for each in measurements_of(look_up(str(file), None, print))}


def test_every_shape_is_measured_again_and_nothing_else_is_done(grid: Path) -> None:
    assert set(run_again(grid, Selection())) == set(measurement_keys(grid).values())


def test_only_what_is_in_doubt_is_measured_again(grid: Path) -> None:
    assert run_again(grid, Selection(doubtful=True)) == []
    key = measurement_keys(grid)[8]
    result = Path(Store(load_grid(grid).storage.store).stages.uri(key)) / "result.json"
    stored = json.loads(result.read_text())
    stored["record"]["noise"] = NOISE
    result.write_text(json.dumps(stored))
    assert run_again(grid, Selection(doubtful=True)) == [key]


def test_what_another_driver_measures_now_is_left_to_it(grid: Path) -> None:
    keys = measurement_keys(grid)
    Store(load_grid(grid).storage.store).claims.take(keys[8], "another")
    assert run_again(grid, Selection()) == [keys[10]]


def test_the_measurements_are_shown(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("measure", grid) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "quiet" in line]
    shown = [[cell.strip() for cell in line.split("│")] for line in rows]
    assert [row[2:4] for row in shown] == [["10", "0"], ["8", "1"]], "layers and cells"
