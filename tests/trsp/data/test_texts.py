"""Text sources: files of every kind, hub datasets, documents."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from tests.tiny import write_jsonl
from trsp.config import TextSource
from trsp.data.texts import read_documents
from trsp.errors import HubError, InvalidInputError

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
        ("a.jsonl", "[1]\n", "one object a line"),
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
    monkeypatch.setattr("datasets.load_dataset_builder", lambda *_, revision: Builder("older"))
    source = TextSource(name="w", dataset="org/texts", revision=COMMIT)
    with pytest.raises(InvalidInputError, match=f"is of commit older, not {COMMIT}"):
        list(read_documents(source))


def test_a_hub_that_does_not_answer_is_no_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach 'org/texts' on the Hub")

    monkeypatch.setattr("datasets.load_dataset_builder", away)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE=1"):
        list(read_documents(TextSource(name="w", dataset="org/texts", revision=COMMIT)))


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
