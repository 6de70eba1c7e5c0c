"""Grid files that no command may start: how the tests call the commands, and what these say."""

import sys
from pathlib import Path

import pytest

from orchestrator.cli import main


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def refused(file: Path, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that both commands refuse the file, in these words and without a traceback."""
    assert call("plan", file) == 2
    printed = capsys.readouterr()
    assert f"refused: {file}: " in printed.out
    assert said in printed.out
    assert call("run", file) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (file.parent / "store").exists()
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()
