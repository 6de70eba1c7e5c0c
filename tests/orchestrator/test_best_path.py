"""``trsp best --path``: from a budget to a checkpoint's place, for a shell."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.views.grid_view import CellView, GridView, Status
from tests.orchestrator.looked_at import looks_at
from tests.orchestrator.sample_grids import grid_file, scored
from tests.orchestrator.test_cli import call

SMALL = replace(scored(1, 90, 40.0), checkpoint_uri="file:///store/small")
LARGE = replace(scored(2, 120, 25.0), checkpoint_uri="s3://id:s3cret@bucket/large")


@pytest.fixture(autouse=True)
def _finished(monkeypatch: pytest.MonkeyPatch) -> None:
    cells: tuple[CellView, ...] = (SMALL, LARGE)
    view = GridView("grid-0", "g", cells, (), (), status=Status.DONE)
    looks_at(monkeypatch, lambda _: view)


def test_the_folder_is_all_that_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("best", grid_file(tmp_path), "--max-params", "100", "--path") == 0
    assert capsys.readouterr().out == "/store/small\n"


def test_an_address_keeps_its_scheme_and_shows_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("best", grid_file(tmp_path), "--max-params", "200", "--path") == 0
    assert capsys.readouterr().out == "s3://***@bucket/large\n"


def test_a_budget_that_nothing_meets_prints_nothing_and_exits_with_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("best", grid_file(tmp_path), "--max-params", "50", "--path") == 3
    out, err = capsys.readouterr()
    assert (out, err) == ("", "nothing meets best-params-50\n")


def test_each_budget_of_the_file_has_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = grid_file(tmp_path, budgets=[{"max_params": "100"}, {"max_params": "95"}])
    assert call("best", file, "--path") == 0
    assert capsys.readouterr().out == "/store/small\n" * 2
