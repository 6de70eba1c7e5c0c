"""The text of a first grid: its column, and where it is parted."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from orchestrator.first_grid.texts import Split, characters_of, found_text, free_name, split_of
from trsp.errors import InvalidInputError


def jsonl(folder: Path, row: dict[str, object]) -> Path:
    file = folder / "my text.jsonl"
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return file


def test_a_text_has_an_absolute_path_and_a_name_that_metrics_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jsonl(tmp_path, {"text": "a"})
    monkeypatch.chdir(tmp_path)
    text = found_text(Path("my text.jsonl"))
    assert (text.name, text.path) == ("my-text", str(tmp_path / "my text.jsonl"))


def test_the_column_called_text_is_taken(tmp_path: Path) -> None:
    assert found_text(jsonl(tmp_path, {"title": "t", "text": "a"})).field == "text"


def test_the_only_column_of_text_is_taken(tmp_path: Path) -> None:
    assert found_text(jsonl(tmp_path, {"id": 3, "body": "a"})).field == "body"


def test_of_several_columns_somebody_must_choose(tmp_path: Path) -> None:
    file = jsonl(tmp_path, {"title": "t", "body": "a"})
    with pytest.raises(InvalidInputError, match="body, title; say which by --column NAME"):
        found_text(file)
    assert found_text(file, "body").field == "body"


def test_columns_of_parquet_are_found_by_their_type(tmp_path: Path) -> None:
    table = pyarrow.table({"id": [1], "content": ["a"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert found_text(tmp_path / "a.parquet").field == "content"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", None, "there is no file"),
        ("a.csv", "x", "unknown kind of text file '.csv'"),
        ("a.jsonl", "no json", "line 1, is not JSON"),
        ("a.parquet", "no parquet", "is no parquet file"),
        ("a.jsonl", '{"id": 3}', "unknown column 'text'"),
    ],
)
def test_a_text_that_cannot_be_used_says_why(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=said):
        found_text(tmp_path / name)


def test_a_long_text_is_parted_after_what_calibration_needs() -> None:
    rows = ["x" * 10] * 100
    assert split_of(rows, calibration=55, held_out=20) == Split(6, 60, 20)


def test_a_text_too_short_for_both_is_parted_80_to_20() -> None:
    assert split_of(["x" * 10] * 10, calibration=500, held_out=500) == Split(8, 80, 20)


def test_a_single_document_cannot_be_parted() -> None:
    assert split_of(["x" * 1000], calibration=10, held_out=10) == Split(0, 0, 1000)


def test_rows_are_read_only_as_far_as_they_are_needed() -> None:
    rows = iter(["x" * 10] * 100)
    assert characters_of(rows, wanted=25) == 30
    split_of(rows, calibration=25, held_out=5)
    assert len(list(rows)) == 94


@pytest.mark.parametrize(("text", "name"), [("wiki.v2 (en)", "wiki-v2-en"), ("日本", "text")])
def test_names_are_those_that_metrics_may_have(text: str, name: str) -> None:
    assert free_name(text) == name
