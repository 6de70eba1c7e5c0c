"""What can be known to fail is refused by ``trsp plan``, and by ``trsp run`` before it starts.

Of texts and of grids; models are in test_known_models.py.
"""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.orchestrator.refusals import call, refused
from tests.tiny_grid import tiny_grid

Changes = dict[str, Any]


def latin_1(text: Path) -> None:
    lines = text.read_bytes().splitlines(keepends=True)
    lines[2] = b'{"text": "caf\xe9"}\n'
    text.write_bytes(b"".join(lines))


def other_column(text: Path) -> None:
    text.write_text('{"body": "x"}\n' + text.read_text(encoding="utf-8"), encoding="utf-8")


def not_json(text: Path) -> None:
    text.write_text('{"text": "x"}\n{"text": \n' + "x" * 40, encoding="utf-8")


def absent(text: Path) -> None:
    text.unlink()


def short(text: Path) -> None:
    text.write_text('{"text": "x"}\n', encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (latin_1, "text.jsonl, line 3, is not UTF-8 (byte 14 of the line is 0xe9)"),
        (other_column, "text.jsonl, line 1: unknown column 'text': known are body"),
        (not_json, "text.jsonl, line 2, is not JSON"),
        (absent, "there is no file"),
        (short, "which cannot make one calibration block of 32 tokens"),
    ],
)
def test_a_text_that_cannot_be_used(
    damage: Callable[[Path], None],
    said: str,
    folder: Path,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(text)
    refused(tiny_grid(tmp_path / "job", folder, text), said, capsys)


def test_a_run_reads_all_of_a_text(
    folder: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A plan has a second, and reads what that allows."""
    with text.open("a", encoding="utf-8") as lines:
        lines.write((json.dumps({"text": "word " * 10_000}) + "\n") * 40)
    with text.open("ab") as lines:
        lines.write(b'{"text": "caf\xe9"}\n')
    file = tiny_grid(tmp_path / "job", folder, text)
    assert call("plan", file) == 0
    capsys.readouterr()
    assert call("run", file) == 2
    assert "text.jsonl, line 105, is not UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exclude": [{"ratios": [0.2, 0.5]}]}, "exclude leaves no combination of the axes"),
        ({"budgets": [{"name": "all"}]}, "budget all has no limit; give it max_params"),
        (
            {"evaluation": {"benchmarks": {"tasks": ["piqa"], "data": "/no/data"}}, "budgets": []},
            "benchmark 'piqa': there is no folder /no/data/piqa",
        ),
    ],
    ids=["exclude", "budget", "benchmark"],
)
def test_a_grid_that_asks_for_nothing_that_can_be(
    changes: Changes,
    said: str,
    folder: Path,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused(tiny_grid(tmp_path / "job", folder, text, **changes), said, capsys)


def test_what_is_included_can_be_all_there_is(folder: Path, text: Path, tmp_path: Path) -> None:
    only = {"exclude": [{"ratios": [0.2, 0.5]}], "include": [{"ratios": 0.5, "drift": 0.3}]}
    assert call("plan", tiny_grid(tmp_path / "job", folder, text, **only)) == 0


def test_a_plan_says_all_that_is_wrong_at_once(
    folder: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tokenizer.json").unlink()
    other_column(text)
    file = tiny_grid(tmp_path / "job", folder, text, budgets=[{"name": "all"}])
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    file.write_text(yaml.safe_dump(content | {"ratios": 0.01}), encoding="utf-8")
    assert call("plan", file) == 2
    assert capsys.readouterr().out.count("refused: ") == 4


def test_files_that_nobody_may_read_are_refused(
    folder: Path,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tests may run as a user who may read everything."""
    opened = Path.open

    def closed(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.name in ("model.safetensors", text.name):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", closed)
    file = tiny_grid(tmp_path / "job", folder, text)
    refused(file, f"model {str(folder)!r} cannot be read: [Errno 13] Permission denied", capsys)
    refused(file, "text 'tiny' cannot be read: [Errno 13] Permission denied", capsys)


def test_benchmark_rows_that_cannot_be_read_are_refused(
    folder: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "piqa" / "validation.jsonl").mkdir(parents=True)
    asked = {"benchmarks": {"tasks": ["piqa"], "data": str(tmp_path / "data")}}
    file = tiny_grid(tmp_path / "job", folder, text, evaluation=asked, budgets=[])
    refused(file, "evaluation.benchmarks.data cannot be read: [Errno 21]", capsys)
