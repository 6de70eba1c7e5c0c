"""Text sources: files of every kind, hub datasets, documents."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from tests.tiny import write_jsonl
from trsp.config import TextSource
from trsp.data.texts import check_text, read_documents
from trsp.errors import InvalidInputError, UnreachableError

COMMIT = 40 * "a"


def test_documents_come_from_json_lines_parquet_and_plain_text(tmp_path: Path) -> None:
    documents = ["one\nline two", "", "drei ä"]
    jsonl = write_jsonl(tmp_path / "a.jsonl", *documents)
    pyarrow.parquet.write_table(
        pyarrow.table({"id": [1, 2, 3], "body": documents}), tmp_path / "a b.parquet"
    )
    parquet = TextSource(name="t", path=str(tmp_path / "a b.parquet"), field="body")
    (tmp_path / "a.txt").write_text("one\nline two\n\n \n\ndrei ä\n", encoding="utf-8")
    plain = TextSource(name="t", path=str(tmp_path / "a.txt"))
    assert list(read_documents(jsonl)) == list(read_documents(parquet)) == documents
    assert list(read_documents(plain)) == ["one\nline two", "drei ä"]


def test_skipped_documents_are_none_of_those_that_are_read(tmp_path: Path) -> None:
    rows = [f"document {i}" for i in range(5)]
    source = write_jsonl(tmp_path / "a.jsonl", *rows).model_copy(update={"skip_documents": 2})
    assert list(read_documents(source)) == ["document 2", "document 3", "document 4"]
    limited = source.model_copy(update={"max_documents": 1})
    assert list(read_documents(limited)) == ["document 2"]


def test_max_documents_reads_no_further(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b"}\nnot json\n')
    source = TextSource(name="t", path=str(tmp_path / "a.jsonl"), max_documents=2)
    assert list(read_documents(source)) == ["a", "b"]


def test_rows_of_a_running_text_are_grouped_into_documents(tmp_path: Path) -> None:
    rows = ["", " = One = \n", " a \n", " = = Part = = \n", " = Two = \n", " b \n"]
    source = write_jsonl(tmp_path / "wikitext.jsonl", *rows).model_copy(
        update={"document_start": "^ = [^=]"}
    )
    assert list(read_documents(source)) == [
        "",
        " = One = \n\n\n a \n\n\n = = Part = = \n",
        " = Two = \n\n\n b \n",
    ]


@pytest.mark.parametrize(
    ("name", "content", "refusal"),
    [
        ("absent.jsonl", None, "there is no file"),
        ("a.csv", "x", "unknown kind of text file '.csv': known are .jsonl, .parquet, .txt"),
        ("a.jsonl", '{"txt": "x"}\n', "did you mean 'txt'"),
        ("a.jsonl", '{"text": 3}\n', "holds int, not text"),
        ("a.jsonl", '{"text": "x"}\n{"te', "line 2, is not JSON"),
        ("a.jsonl", "[1]\n", "one object per line"),
    ],
)
def test_unreadable_text_says_what_came_and_the_cure(
    tmp_path: Path, name: str, content: str | None, refusal: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInputError, match=re.escape(refusal)):
        list(read_documents(TextSource(name="t", path=str(tmp_path / name))))


def test_parquet_without_the_column_names_the_columns(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(InvalidInputError, match="unknown column 'text': known are body"):
        list(read_documents(TextSource(name="t", path=str(tmp_path / "a.parquet"))))


def test_a_source_is_a_file_or_a_dataset_not_both() -> None:
    for wrong in ({}, {"path": "a.txt", "dataset": "b"}):
        with pytest.raises(ValidationError, match="exactly one"):
            TextSource(name="t", **wrong)


class Builder:
    """What ``datasets`` prepares: rows of a commit."""

    def __init__(self, commit: str) -> None:
        self.hash = commit

    def download_and_prepare(self) -> None:
        pass

    def as_dataset(self, split: str) -> list[dict[str, str]]:
        return [{"text": f"{self.hash} {split}"}]


def test_a_dataset_is_read_at_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.load_dataset_builder", lambda *_, revision: Builder(revision))
    source = TextSource(name="w", dataset="org/texts", revision=COMMIT)
    assert list(read_documents(source)) == [f"{COMMIT} train"]


def test_a_cached_copy_of_another_commit_is_not_taken_for_the_dataset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the network that is an answer; with it, the hub gave none."""
    monkeypatch.setattr("datasets.load_dataset_builder", lambda *_, revision: Builder("older"))
    source = TextSource(name="w", dataset="org/texts", revision=COMMIT)
    for offline, refusal in ((True, InvalidInputError), (False, UnreachableError)):
        monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", offline)
        with pytest.raises(refusal, match=f"is of commit older, not {COMMIT}"):
            list(read_documents(source))


def test_a_dataset_out_of_reach_is_the_users_to_cure() -> None:
    source = TextSource(name="w", dataset="Salesforce/wikitext", config="wikitext-2-raw-v1")
    with pytest.raises(InvalidInputError, match=r"Salesforce/wikitext.*local file"):
        list(read_documents(source))


def test_texts_needs_no_torch() -> None:
    heavy = {"torch", "datasets", "transformers", "lm_eval"}
    code = (
        "import sys, trsp.data.texts, trsp.evaluation.lm_eval_tasks, trsp.evaluation.hardware; "
        f"sys.exit(bool({heavy} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_text_that_is_not_utf8_names_the_line(tmp_path: Path, name: str) -> None:
    rows = b'{"text": "x"}\r\n\r\n{"text": "caf\xe9"}\n'
    (tmp_path / name).write_bytes(rows)
    with pytest.raises(InvalidInputError, match=r"line 3, is not UTF-8 \(byte 14 .* 0xe9\)"):
        list(read_documents(TextSource(name="t", path=str(tmp_path / name))))


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"x" * 100)
    with pytest.raises(InvalidInputError, match=r"a\.parquet is no parquet file"):
        list(read_documents(TextSource(name="t", path=str(tmp_path / "a.parquet"))))


def test_a_parquet_column_of_numbers(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"text": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(InvalidInputError, match="column 'text' holds int, not text"):
        list(read_documents(TextSource(name="t", path=str(tmp_path / "a.parquet"))))


def test_a_text_is_checked_as_far_as_was_asked(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", "x" * 50, "y" * 60)
    with (tmp_path / "a.jsonl").open("a", encoding="utf-8") as lines:
        lines.write("no json\n")
    check_text(source, 100)
    for characters in (None, 200):
        with pytest.raises(InvalidInputError, match="line 3, is not JSON"):
            check_text(source, characters)
    check_text(source.model_copy(update={"max_documents": 2}))


def test_a_pattern_that_is_none_says_so(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", "x").model_copy(update={"document_start": "(= "})
    for characters in (None, 200):
        with pytest.raises(InvalidInputError, match=r"document_start '\(= ' is no pattern: miss"):
            check_text(source, characters)


def test_a_hub_without_an_answer_is_no_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'x' on the Hub (ReadTimeout)")

    monkeypatch.setattr("datasets.load_dataset_builder", no_answer)
    with pytest.raises(UnreachableError, match="cannot be loaded"):
        list(read_documents(TextSource(name="w", dataset="x/y")))
