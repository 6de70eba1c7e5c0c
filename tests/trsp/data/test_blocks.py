"""Text sources, calibration blocks and evaluation windows, on a tiny real tokenizer that adds <bos> itself."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from pydantic import ValidationError
from transformers import PreTrainedTokenizerFast

from tests.tiny import tiny_tokenizer
from trsp.config import BosPolicy, CalibrationSettings, PerplexitySettings, TextSource
from trsp.data.blocks import bos_ids, calibration_blocks, evaluation_windows
from trsp.data.texts import read_documents, text_fingerprint
from trsp.errors import CalibrationTooShortError, InvalidInputError

BOS = 257


class GemmaTokenizer(PreTrainedTokenizerFast):
    """Stands for a Gemma tokenizer that was converted and has forgotten to add <bos>."""


def bos_less(
    kind: type[PreTrainedTokenizerFast] = PreTrainedTokenizerFast,
) -> PreTrainedTokenizerFast:
    backend = tiny_tokenizer().backend_tokenizer
    backend.post_processor = None
    return kind(tokenizer_object=backend, bos_token="<bos>")


def write_jsonl(path: Path, *texts: str) -> TextSource:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return TextSource(name="t", path=str(path))


def decoded(tokens: torch.Tensor) -> str:
    text = tiny_tokenizer().decode(tokens.flatten())
    assert isinstance(text, str)
    return text


# --- sources ----------------------------------------------------------------------------------------------------------


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
    ("name", "content", "said"),
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
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInputError, match=re.escape(said)):
        list(read_documents(TextSource(name="t", path=str(tmp_path / name))))


def test_parquet_without_the_column_names_the_columns(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(InvalidInputError, match="unknown column 'text': known are body"):
        list(read_documents(TextSource(name="t", path=str(tmp_path / "a.parquet"))))


def test_a_source_is_a_file_or_a_dataset_not_both() -> None:
    for wrong in ({}, {"path": "a.txt", "dataset": "b"}):
        with pytest.raises(ValidationError, match="exactly one"):
            TextSource(name="t", **wrong)


def test_fingerprint_follows_the_bytes_not_the_name(tmp_path: Path) -> None:
    one, two, other = (
        write_jsonl(tmp_path / name, text)
        for name, text in [("1.jsonl", "a"), ("2.jsonl", "a"), ("3.jsonl", "b")]
    )
    assert text_fingerprint(one) == text_fingerprint(two) != text_fingerprint(other)


def test_fingerprint_of_a_hub_dataset_names_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "b08601e04326c79dfdd32d625aee71d232d685c3"
    pinned = TextSource(
        name="w", dataset="Salesforce/wikitext", config="wikitext-2-raw-v1", revision=commit
    )
    branch = pinned.model_copy(update={"revision": "main"})
    named = f"Salesforce/wikitext@{commit}/wikitext-2-raw-v1/train"
    assert text_fingerprint(pinned) == named
    assert (
        text_fingerprint(branch) == "Salesforce/wikitext@main/wikitext-2-raw-v1/train"
    )  # offline, never cached
    reference = tmp_path / "datasets--Salesforce--wikitext" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert text_fingerprint(branch) == named


def test_a_dataset_out_of_reach_is_the_users_to_cure() -> None:
    source = TextSource(name="w", dataset="Salesforce/wikitext", config="wikitext-2-raw-v1")
    with pytest.raises(InvalidInputError, match=r"Salesforce/wikitext.*local file"):
        list(read_documents(source))


def test_texts_needs_no_torch() -> None:
    heavy = {"torch", "datasets", "transformers", "lm_eval"}
    code = f"import sys, trsp.data.texts, trsp.evaluation.lm_eval_tasks, trsp.evaluation.hardware; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- BOS --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokenizer", "policy", "expected"),
    [
        (tiny_tokenizer(), "auto", [BOS]),
        (tiny_tokenizer(), "never", []),
        (bos_less(), "auto", []),
        (bos_less(), "always", [BOS]),
        (bos_less(GemmaTokenizer), "auto", [BOS]),
        (bos_less(GemmaTokenizer), "never", []),
    ],
)
def test_bos_policy(
    tokenizer: PreTrainedTokenizerFast, policy: BosPolicy, expected: list[int]
) -> None:
    assert bos_ids(tokenizer, policy) == expected


def test_bos_always_needs_a_bos() -> None:
    without = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer().backend_tokenizer)
    with pytest.raises(InvalidInputError, match="has no BOS token"):
        bos_ids(without, "always")


# --- calibration blocks -----------------------------------------------------------------------------------------------


def test_blocks_are_the_shuffled_documents_joined_and_cut(tmp_path: Path) -> None:
    texts = [f"document {i} " + "x" * i for i in range(20)]
    settings = CalibrationSettings(
        text=write_jsonl(tmp_path / "a.jsonl", *texts), blocks=20, block_tokens=16
    )
    tokens_NT = calibration_blocks(tiny_tokenizer(), settings, seed=1)
    assert tokens_NT.shape == (20, 16)
    assert tokens_NT.dtype == torch.int64
    parts = decoded(tokens_NT).split("<bos>")[1:]
    assert all(
        part[:-2] in texts and part.endswith("\n\n") for part in parts[:-1]
    )  # whole, each once, parted
    assert texts != [part[:-2] for part in parts[: len(texts)]]
    assert len(set(parts)) == len(parts)


def test_blocks_are_the_same_for_the_same_seed_only(text_file: Path) -> None:
    settings = CalibrationSettings(
        text=TextSource(name="t", path=str(text_file)), blocks=4, block_tokens=64
    )
    first, again, other = (
        calibration_blocks(tiny_tokenizer(), settings, seed) for seed in (3, 3, 4)
    )
    assert first.equal(again)
    assert not first.equal(other)


def test_fewer_blocks_are_a_prefix(text_file: Path) -> None:
    settings = CalibrationSettings(
        text=TextSource(name="t", path=str(text_file)), blocks=4, block_tokens=64
    )
    fewer = settings.model_copy(update={"blocks": 2})
    assert calibration_blocks(tiny_tokenizer(), settings, 0)[:2].equal(
        calibration_blocks(tiny_tokenizer(), fewer, 0)
    )


def test_tokenizing_stops_at_enough(text_file: Path) -> None:
    class Counting(PreTrainedTokenizerFast):
        calls = 0

        def __call__(self, *args: object, **kwargs: object) -> object:
            Counting.calls += 1
            return super().__call__(*args, **kwargs)

    tokenizer = Counting(tokenizer_object=tiny_tokenizer().backend_tokenizer, bos_token="<bos>")
    text = TextSource(name="t", path=str(text_file))
    calibration_blocks(tokenizer, CalibrationSettings(text=text, blocks=1, block_tokens=8), 0)
    assert Counting.calls == 2  # one for the BOS policy, one document of 64


def test_text_shorter_than_a_block_or_than_all_blocks_is_refused(tmp_path: Path) -> None:
    text = write_jsonl(tmp_path / "a.jsonl", "x" * 97)  # 100 tokens with <bos> and the blank line
    exact = CalibrationSettings(text=text, blocks=10, block_tokens=10)
    assert calibration_blocks(tiny_tokenizer(), exact, 0).shape == (10, 10)
    with pytest.raises(
        CalibrationTooShortError,
        match=r"holds 100 tokens: 10 blocks of 10, but 11 are asked for \(110 tokens\)",
    ):
        calibration_blocks(tiny_tokenizer(), exact.model_copy(update={"blocks": 11}), 0)
    with pytest.raises(CalibrationTooShortError, match="holds 100 tokens: 0 blocks of 101"):
        calibration_blocks(tiny_tokenizer(), exact.model_copy(update={"block_tokens": 101}), 0)


# --- evaluation windows -----------------------------------------------------------------------------------------------


def test_windows_hold_the_text_in_order_each_opened_by_bos(tmp_path: Path) -> None:
    text = write_jsonl(
        tmp_path / "a.jsonl", "abcdefgh", "ijklmnop", "qrstuvwx"
    )  # 28 bytes with two blank lines
    windows_NT = evaluation_windows(
        tiny_tokenizer(), PerplexitySettings(text=text, window_tokens=10)
    )
    assert [decoded(window) for window in windows_NT] == [
        "<bos>abcdefgh\n",
        "<bos>\nijklmnop",
        "<bos>\n\nqrstuvw",
    ]
    without = evaluation_windows(
        tiny_tokenizer(), PerplexitySettings(text=text, window_tokens=14, bos="never")
    )
    assert [decoded(window) for window in without] == ["abcdefgh\n\nijkl", "mnop\n\nqrstuvwx"]


@pytest.mark.parametrize(
    "characters_per_token", [8, 0.3]
)  # the first guess reads too much, or too little
@pytest.mark.parametrize("max_windows", [1, 5, 40])
def test_first_windows_are_those_of_the_whole_text(
    text_file: Path, monkeypatch: pytest.MonkeyPatch, characters_per_token: float, max_windows: int
) -> None:
    monkeypatch.setattr("trsp.data.blocks._CHARACTERS_PER_TOKEN", characters_per_token)
    settings = PerplexitySettings(text=TextSource(name="t", path=str(text_file)), window_tokens=64)
    whole = evaluation_windows(tiny_tokenizer(), settings)
    assert len(whole) > 40
    first = evaluation_windows(
        tiny_tokenizer(), settings.model_copy(update={"max_windows": max_windows})
    )
    assert first.equal(whole[:max_windows])


def test_text_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    settings = PerplexitySettings(text=write_jsonl(tmp_path / "a.jsonl", "x" * 9), window_tokens=10)
    assert evaluation_windows(tiny_tokenizer(), settings).shape == (1, 10)
    with pytest.raises(
        CalibrationTooShortError, match="holds 9 tokens, less than one window of 10"
    ):
        evaluation_windows(tiny_tokenizer(), settings.model_copy(update={"window_tokens": 11}))
