"""``trsp init``: what it writes and says."""

from pathlib import Path

import pytest

from orchestrator.cli import main


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    code = ended.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_model_and_a_text_make_a_grid_file(
    folder: Path, tiny_llama: Path, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["init", tiny_llama, "--text", text_file, "--max-params", "45k"]
    assert call(*arguments, "--hours", 0) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("wrote grid.yaml: 6 cells, about ")
    assert "takes 2 of 6 layers" in printed
    assert "next: trsp plan grid.yaml; trsp run grid.yaml; trsp best grid.yaml" in printed
    assert call("plan", folder / "grid.yaml") == 0


@pytest.mark.usefixtures("folder")
def test_without_a_model_and_a_text_it_says_what_it_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call("init") == 2
    assert "trsp init MODEL --text FILE" in capsys.readouterr().err


def test_an_example_is_written_under_its_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("init", "--example", "demo") == 0
    assert capsys.readouterr().out.startswith("wrote demo.yaml")
    assert (folder / "demo.yaml").stat().st_mode & 0o100
