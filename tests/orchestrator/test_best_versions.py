"""``trsp best`` where the numbers that it compares were computed with different libraries."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator.looked_at import looks_at
from tests.orchestrator.sample_grids import grid_file, scored

CELLS = tuple(
    replace(
        scored(seed, 80 + 10 * seed, 40.0 - seed), versions={"evaluate": {"torch": f"2.{seed}"}}
    )
    for seed in (1, 2)
)


@pytest.fixture(autouse=True)
def _finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store in which two cells are done, each scored with a torch of its own."""
    view = GridView("grid-0", "g", CELLS, (), (), status=Status.DONE)
    looks_at(monkeypatch, lambda _: view)


def test_best_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["best", str(grid_file(tmp_path)), "--max-params", "110"])
    assert "computed differently: torch 2.2 and 2.1" in " ".join(capsys.readouterr().out.split())


def test_best_as_json_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["best", str(grid_file(tmp_path)), "--max-params", "110", "--json"])
    (choice,) = json.loads(capsys.readouterr().out)
    (note,) = choice["warnings"]
    assert "torch 2.2 and 2.1" in note
