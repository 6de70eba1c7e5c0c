"""Where things lie: variables and the home folder within a grid."""

from pathlib import Path

import pytest

from orchestrator.grid.schema import load_grid
from tests.orchestrator.sample_grids import grid, grid_file, refusal


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "/data/m")
    monkeypatch.delenv("ABSENT", raising=False)
    file = grid_file(
        tmp_path, models=["${WHERE}/x", "${ABSENT:-/other}/y"], storage={"store": "${ABSENT:-~/s}"}
    )
    found = load_grid(file)
    assert [model.source for model in found.models] == ["/data/m/x", "/other/y"]
    assert found.storage.store == str(Path.home() / "s")
    said = refusal(grid_file(tmp_path, models=["a", "${ABSENT}/x"]))
    assert (
        said
        == f"{file}: models[1]: ${{ABSENT}} is not set; export it, or write ${{ABSENT:-default}}"
    )


def test_places_follow_trsp_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRSP_HOME", "/big disk/trsp")
    found = grid()
    assert found.storage.store == "/big disk/trsp/store"
    assert found.tracking.uri == "sqlite:////big disk/trsp/mlflow.db"
    monkeypatch.delenv("TRSP_HOME")
    assert grid().storage.store == str(Path.home() / ".trsp" / "store")
    assert grid(storage={"store": "s3://bucket/x"}).storage.store == "s3://bucket/x"
