"""What a shell offers for a grid file."""

from pathlib import Path

import pytest

from orchestrator.commands.completion import grid_files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("demo.yaml", "draft.yml", "data.jsonl", ".hidden.yaml", "jobs/grid.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_grid_files_and_folders_are_offered() -> None:
    assert grid_files("") == ["demo.yaml", "draft.yml", "jobs/"]


@pytest.mark.usefixtures("folder")
def test_only_those_that_begin_so_are_offered() -> None:
    assert grid_files("dr") == ["draft.yml"]


@pytest.mark.usefixtures("folder")
def test_a_path_is_completed_as_it_was_written() -> None:
    assert grid_files("jobs/g") == ["jobs/grid.yaml"]


def test_an_absolute_path_is_completed(folder: Path) -> None:
    assert grid_files(f"{folder}/demo") == [f"{folder}/demo.yaml"]


@pytest.mark.usefixtures("folder")
def test_hidden_files_are_offered_to_who_asks_for_them() -> None:
    assert grid_files(".h") == [".hidden.yaml"]


@pytest.mark.usefixtures("folder")
def test_a_folder_that_is_not_there_offers_nothing() -> None:
    assert grid_files("nowhere/x") == []
