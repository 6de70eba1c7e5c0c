"""A home folder, a model and a text for the tests of this folder."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRSP_HOME", str(tmp_path / "home"))


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    """A model in a folder of its own, with blanks in its path."""
    copied = tmp_path / "my models" / "tiny llama"
    shutil.copytree(tiny_llama, copied)
    return copied


@pytest.fixture
def text(text_file: Path, tmp_path: Path) -> Path:
    """A text that a test may damage."""
    return Path(shutil.copy(text_file, tmp_path))
