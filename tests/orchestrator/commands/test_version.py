"""``trsp --version`` and the completion of shells."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import trsp
from orchestrator.cli import main
from trsp import versions


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_version_is_that_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(["--version"], capsys) == f"trsp {version('trsp-orchestrator')}\n"
    assert trsp.__version__ == version("trsp-orchestrator")


def test_files_that_nobody_installed_have_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(versions, "version", absent)
    assert trsp.__version__ == versions.UNKNOWN


def test_the_help_offers_completion(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--install-completion" in printed(["--help"], capsys)


def test_bash_is_offered_grid_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "mine.txt").touch()
    asked = {"_TRSP_COMPLETE": "complete_bash", "COMP_WORDS": "trsp plan mi", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator"],
        cwd=tmp_path,
        env={**os.environ, **asked, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["mine.yaml"]
