"""Where things lie: variables and the home folder within a grid."""

from pathlib import Path

import pytest

from orchestrator.grid.locations import allow_variables, variables_of
from orchestrator.grid.schema import load_grid
from tests.orchestrator.sample_grids import grid, grid_file, refusal


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRSP_WHERE", "/data/m")
    monkeypatch.delenv("TRSP_ABSENT", raising=False)
    file = grid_file(
        tmp_path,
        models=["${TRSP_WHERE}/x", "${TRSP_ABSENT:-/other}/y"],
        storage={"store": "${TRSP_ABSENT:-~/s}"},
    )
    found = load_grid(file)
    assert [model.source for model in found.models] == ["/data/m/x", "/other/y"]
    assert found.storage.store == str(Path.home() / "s")
    said = refusal(grid_file(tmp_path, models=["a", "${TRSP_ABSENT}/x"]))
    assert (
        said == f"{file}: models[1]: ${{TRSP_ABSENT}} is not set; export it, "
        "or write ${TRSP_ABSENT:-default}"
    )


def test_a_grid_sees_no_other_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET_KEY", "s3cret")
    for written in ("${BUCKET_KEY}", "${BUCKET_KEY:-none}"):
        said = refusal(grid_file(tmp_path, name=written))
        assert "name: ${BUCKET_KEY} is not for grid files to see" in said
        assert "--allow-variable BUCKET_KEY, or export TRSP_ALLOW_VARIABLES=BUCKET_KEY" in said
        assert "s3cret" not in said


def test_a_variable_that_is_not_set_cannot_be_seen_either(tmp_path: Path) -> None:
    assert load_grid(grid_file(tmp_path, name="${BUCKET_KEY:-none}")).name == "none"
    said = refusal(grid_file(tmp_path, name="${BUCKET_KEY}"))
    assert "${BUCKET_KEY} is not for grid files to see" in said


def test_a_value_is_not_a_way_to_other_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUCKET_KEY", "s3cret")
    monkeypatch.setenv("TRSP_WHERE", "/x/${BUCKET_KEY}")
    said = refusal(grid_file(tmp_path, storage={"store": "${TRSP_WHERE}"}))
    assert "${BUCKET_KEY} is not for grid files to see" in said


def test_a_person_allows_variables_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch")
    monkeypatch.setenv("BUCKET", "b")
    monkeypatch.setenv("TRSP_ALLOW_VARIABLES", "SCRATCH, OTHER")
    file = grid_file(tmp_path, models="${SCRATCH}/m", name="${BUCKET}")
    assert "${BUCKET}" in refusal(file)
    allow_variables(["BUCKET"])
    found = load_grid(file)
    assert (found.models[0].source, found.name) == ("/scratch/m", "b")


def test_places_follow_trsp_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRSP_HOME", "/big disk/trsp")
    found = grid()
    assert found.storage.store == "/big disk/trsp/store"
    assert found.tracking.uri == "sqlite:////big disk/trsp/mlflow.db"
    monkeypatch.delenv("TRSP_HOME")
    assert grid().storage.store == str(Path.home() / ".trsp" / "store")
    assert grid(storage={"store": "s3://bucket/x"}).storage.store == "s3://bucket/x"


def test_the_variables_of_a_text_are_those_that_a_grid_may_see() -> None:
    text = "${TRSP_STORE:-/x}/${USER} ${SECRET} $TRSP_NOT ${TRSP_STORE}"
    assert variables_of(text) == {"TRSP_STORE", "USER"}
