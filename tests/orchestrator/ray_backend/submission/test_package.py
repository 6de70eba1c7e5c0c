"""The folder that a job works in: what is in it, and which paths are refused."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.grid.schema import load_grid
from orchestrator.ray_backend.submission import package
from orchestrator.ray_backend.submission.package import given_folder, packed
from tests.tiny_grid import tiny_grid
from trsp.errors import InvalidInputError


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder that the user is in, with a text in a folder of it."""
    (tmp_path / "here" / "data").mkdir(parents=True)
    (tmp_path / "here" / "data" / "wiki.jsonl").write_text("{}\n")
    return tmp_path / "here"


def grid_elsewhere(tmp_path: Path, text: str = "/shared/wiki.jsonl", **changes: Any) -> Path:
    return tiny_grid(tmp_path / "elsewhere", Path("/models/m"), Path(text), **changes)


def test_a_file_travels_from_wherever_it_lies_with_the_installed_code(
    tmp_path: Path, here: Path
) -> None:
    file = grid_elsewhere(tmp_path)
    with packed(file, here) as made:
        assert (made.file, made.grid) == ("tiny.yaml", "tiny")
        assert load_grid(made.folder / made.file) == load_grid(file)
        for module in (
            "orchestrator/__main__.py",
            "orchestrator/grid.schema.json",
            "trsp/gates.py",
        ):
            assert (made.folder / module).is_file()
        assert not list(made.folder.rglob("__pycache__"))
        assert {path.name for path in made.folder.iterdir()} == {
            *package.PACKAGES,
            "tiny.yaml",
        }
    assert not made.folder.exists()


def test_a_text_named_by_a_relative_path_travels_to_the_same_one(
    tmp_path: Path, here: Path
) -> None:
    with packed(grid_elsewhere(tmp_path, "data/wiki.jsonl"), here) as made:
        assert made.texts == ("data/wiki.jsonl",)
        assert (made.folder / "data/wiki.jsonl").read_text() == "{}\n"


def test_a_text_that_is_beside_the_file_only_is_refused_with_the_folder_to_go_to(
    tmp_path: Path, here: Path
) -> None:
    file = grid_elsewhere(tmp_path, "own.jsonl")
    (file.parent / "own.jsonl").write_text("{}\n")
    assert f"submit from {file.parent}" in refused(file, here)


def test_a_text_that_is_nowhere_is_refused(tmp_path: Path, here: Path) -> None:
    assert "there is no text 'gone.jsonl'" in refused(grid_elsewhere(tmp_path, "gone.jsonl"), here)


def test_a_text_above_the_folder_is_refused(tmp_path: Path, here: Path) -> None:
    (tmp_path / "wiki.jsonl").write_text("{}\n")
    assert "lies outside of" in refused(grid_elsewhere(tmp_path, "../wiki.jsonl"), here)


def test_texts_too_large_to_travel_are_refused(
    tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MOST_BYTES", 2)
    assert "at most 0 MB travel" in refused(grid_elsewhere(tmp_path, "data/wiki.jsonl"), here)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"storage": {"store": "results"}}, "storage.store: 'results' is a relative path"),
        ({"tracking": {"uri": "sqlite:///my.db"}}, "tracking.uri: 'sqlite:///my.db' is a relative"),
        ({"tracking": {"uri": "mlruns"}}, "tracking.uri: 'mlruns' is a relative path"),
        ({"models": "data"}, "models: 'data' is a relative path, which does not travel"),
        (
            {"evaluation": {"benchmarks": {"tasks": ["piqa"], "data": "data"}}, "budgets": []},
            "evaluation.benchmarks.data: 'data' is a relative path",
        ),
    ],
)
def test_a_relative_path_that_would_lead_nowhere_is_refused(
    tmp_path: Path, here: Path, changes: dict[str, Any], said: str
) -> None:
    assert said in refused(grid_elsewhere(tmp_path, **changes), here)


@pytest.mark.parametrize("place", ["s3://bucket/store", "/shared/store", "~/store"])
def test_a_place_that_is_the_clusters_to_find_is_left_to_it(
    tmp_path: Path, here: Path, place: str
) -> None:
    with packed(grid_elsewhere(tmp_path, storage={"store": place}), here) as made:
        assert made.texts == ()


def test_a_hub_model_is_no_folder(tmp_path: Path, here: Path) -> None:
    with packed(grid_elsewhere(tmp_path, models="org/model"), here) as made:
        assert made.grid == "tiny"


def test_a_given_folder_is_sent_as_it_is(tmp_path: Path) -> None:
    file = grid_elsewhere(tmp_path)
    with given_folder(file, tmp_path) as made:
        assert (made.folder, made.file) == (tmp_path, "elsewhere/tiny.yaml")


def test_a_file_outside_of_a_given_folder_is_refused(tmp_path: Path, here: Path) -> None:
    with (
        pytest.raises(InvalidInputError, match="leave --working-dir out"),
        given_folder(grid_elsewhere(tmp_path), here),
    ):
        pass


def refused(file: Path, here: Path) -> str:
    with pytest.raises(InvalidInputError) as caught, packed(file, here):
        pass
    return str(caught.value)
