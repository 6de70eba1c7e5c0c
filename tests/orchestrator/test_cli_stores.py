"""The commands that look into a store, as they are called: by a file, and by a name and a store."""

import json
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.kept_grids import lookup
from orchestrator.kept_grids.document import kept_grid
from tests.orchestrator.fake_launcher import FakeLauncher, controller_of, drive, one_cell, store_of
from tests.orchestrator.sample_grids import grid_file


class Shell:
    """Calls commands, and has what they printed."""

    def __init__(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file, self.store = str(file), str(file.parent / "store")
        self._capsys = capsys
        capsys.readouterr()

    def call(self, *arguments: str, code: int = 0) -> str:
        """Return what a command printed, where it ended with this exit code; errors too."""
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        said = self._capsys.readouterr()
        assert (caught.value.code or 0) == code, said
        return said.out + said.err


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """A shell beside a grid of one cell that is done, by made-up stages, and kept in its store."""
    grid = one_cell(tmp_path)
    file = grid_file(tmp_path, storage={"store": grid.grid.storage.store})
    drive(controller_of(grid, FakeLauncher()))
    kept = kept_grid(grid, grid.grid, file).model_copy(update={"cells": {"done": 1}})
    store_of(grid).grids.save(grid.key, kept.model_dump(mode="json"))
    monkeypatch.setattr(lookup, "resolve", lambda _: grid)
    return Shell(file, capsys)


def test_status_by_a_name_is_that_of_the_file(shell: Shell) -> None:
    named = shell.call("status", "g", "--store", shell.store)
    assert named == shell.call("status", shell.file)
    assert "done, 1 of 1 cells done" in named


def test_compare_without_a_grid_takes_the_last_that_was_run(shell: Shell) -> None:
    said = shell.call("compare", "#1", "dense", "--store", shell.store)
    assert "note: grid g (" in said
    assert "B: m dense" in said


def test_compare_for_programs(shell: Shell) -> None:
    both = json.loads(shell.call("compare", "#1", "dense", shell.file, "--json"))
    assert both["second"] == "m dense"
    assert {"name", "first", "second", "comparison", "verdict"} == {*both["rows"][0]}


def test_logs_of_a_stage_that_kept_none_say_so(shell: Shell) -> None:
    said = shell.call("logs", "#1", shell.file, "--stage", "prune")
    assert said.startswith("== prune of ")
    assert "no log is kept of prune-" in said


def test_logs_of_an_unknown_stage_are_bad_input(shell: Shell) -> None:
    said = shell.call("logs", "#1", shell.file, "--stage", "pruning", code=2)
    assert "did you mean 'prune'?" in said


def test_following_a_cell_that_is_done_ends_at_once(shell: Shell) -> None:
    assert shell.call("logs", "#1", shell.file, "--follow") == ""


def test_a_grid_that_nobody_runs_cannot_be_cancelled(shell: Shell) -> None:
    assert "no driver works on grid 'g'" in shell.call("cancel", shell.file, code=2)


def test_a_grid_that_is_done_is_not_tried_again(shell: Shell) -> None:
    said = shell.call("retry", "g", "--store", shell.store, code=2)
    assert "grid 'g' is done: there is nothing to try again" in said


def test_list_of_a_files_store(shell: Shell) -> None:
    assert "1 of 1" in shell.call("list", shell.file)
