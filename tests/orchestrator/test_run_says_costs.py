"""What ``trsp run`` says before it starts: what is left to do, and whether there is room for it."""

from pathlib import Path

import pytest

from orchestrator.run import run_grid
from tests.orchestrator.costs.planned import of_7b
from tests.orchestrator.fake_launcher import FakeLauncher

BEFORE = "left to do: about "


@pytest.fixture
def file(one_cell_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a grid of one cell of a 7B model."""
    resolved = of_7b(
        storage={"store": str(one_cell_file.parent / "store")},
        tracking={"uri": f"sqlite:///{one_cell_file.parent}/mlflow.db"},
    )
    monkeypatch.setattr("orchestrator.run._resolve_checked", lambda *_: resolved)
    return one_cell_file


def run(file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a grid file and return what was printed before its first stage."""
    assert run_grid(file, launcher=FakeLauncher()) == 0
    return capsys.readouterr().out.partition("leaderboard: ")[0]


class _Full:
    free = 1000


def test_a_run_says_what_it_costs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(file, capsys)
    assert BEFORE in said
    assert "core-hours (" in said
    assert " on 4 cores; " in said
    assert "warning: " not in said


def test_a_second_run_has_nothing_left_to_do(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(file, capsys)
    assert "left to do: nothing, the store holds all of it" in run(file, capsys)


def test_a_disk_that_is_too_small_is_said_before_anything_starts(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Full)
    said = run(file, capsys)
    assert f"warning: the disk of {file.parent}/store" in said
    assert "for what comes; free some, or give storage.store another place" in said
