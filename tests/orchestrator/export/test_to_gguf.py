"""A cell's checkpoint as a GGUF file: whole or not at all, and nothing is replaced."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.export.checkpoint import Checkpoint, checkpoint_of
from orchestrator.export.to_gguf import write_to
from orchestrator.run import view_of
from tests.orchestrator.export.gguf_file.tiny_checkpoint import saved
from tests.orchestrator.fake_launcher import FakeLauncher, controller_of, drive, one_cell, store_of
from trsp.errors import InvalidInputError


@pytest.fixture
def checkpoint(tmp_path: Path) -> Iterator[Checkpoint]:
    """The checkpoint of a cell that is done, with a tiny model for its weights."""
    grid = one_cell(tmp_path)
    drive(controller_of(grid, FakeLauncher()))
    with checkpoint_of(store_of(grid), view_of(grid), "#1") as found:
        yield replace(found, folder=saved(tmp_path / "model"))


def test_the_file_is_written_with_its_size(checkpoint: Checkpoint, tmp_path: Path) -> None:
    file = tmp_path / "out" / "tiny.gguf"
    assert write_to(checkpoint, file) == file.stat().st_size
    assert [path.name for path in file.parent.iterdir()] == ["tiny.gguf"]


def test_a_file_that_is_there_stays(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_text("mine")
    with pytest.raises(InvalidInputError, match="is there already; give --gguf"):
        write_to(checkpoint, tmp_path / "mine.gguf")
    assert (tmp_path / "mine.gguf").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="cannot be written"):
        write_to(checkpoint, tmp_path / "file" / "tiny.gguf")


def test_nothing_is_left_of_a_file_that_failed(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gguf import GGUFWriter

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(GGUFWriter, "write_tensor_data", full)
    with pytest.raises(InvalidInputError, match="No space left"):
        write_to(checkpoint, tmp_path / "out" / "tiny.gguf")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_package_that_is_missing_is_named(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("orchestrator.export.gguf_file")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InvalidInputError, match=r"pip install 'gguf>=0.19'"):
        write_to(checkpoint, tmp_path / "tiny.gguf")
