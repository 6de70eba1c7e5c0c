"""Blocks and windows of the published protocol, on a tiny real tokenizer that adds <bos> itself."""

import random
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tests.tiny import tiny_tokenizer, write_jsonl
from trsp.config import CalibrationSettings, PerplexitySettings, TextSource
from trsp.data.blocks import calibration_blocks, evaluation_windows
from trsp.data.texts import read_documents
from trsp.errors import CalibrationTooShortError

BOS = 257


def whole(tokenizer: PreTrainedTokenizerFast, text: TextSource) -> list[int]:
    """Return the ids that the tokenizer itself makes of all rows, joined as published loaders do.

    Empty rows are among them.
    """
    ids: list[int] = tokenizer("\n\n".join(read_documents(text)))["input_ids"]
    return ids


def test_published_blocks_are_random_windows_of_the_whole_stream(tmp_path: Path) -> None:
    """The draws are written out once more here, as the loaders of GPTQ make them."""
    rows = ["", " = One = \n", "", " alpha beta gamma \n" * 9, "", " = Two = \n", "delta " * 30]
    text = write_jsonl(tmp_path / "a.jsonl", *rows)
    settings = CalibrationSettings.model_validate(
        {"preset": "paper", "text": text, "blocks": 6, "block_tokens": 32}
    )
    stream = whole(tiny_tokenizer(), text)
    assert stream[0] == BOS
    random.seed(5)
    starts = [random.randint(0, len(stream) - 32 - 1) for _ in range(6)]
    expected = [stream[start : start + 32] for start in starts]
    assert calibration_blocks(tiny_tokenizer(), settings, seed=5).tolist() == expected


def test_published_blocks_do_not_know_how_rows_are_grouped(tmp_path: Path) -> None:
    rows = ["", " = One = \n", "", "a" * 50, " = Two = \n", "", "b" * 50]
    text = write_jsonl(tmp_path / "a.jsonl", *rows)
    grouped = text.model_copy(update={"document_start": "^ = [^=]"})
    found = [
        calibration_blocks(
            tiny_tokenizer(),
            CalibrationSettings.model_validate(
                {"preset": "paper", "text": each, "blocks": 4, "block_tokens": 20}
            ),
            0,
        )
        for each in (text, grouped)
    ]
    assert found[0].equal(found[1])


def test_published_windows_are_the_stream_cut_from_its_first_token(tmp_path: Path) -> None:
    rows = ["", " = One = \n", "", " alpha beta gamma \n" * 9, "", " = Two = \n", "delta " * 30]
    text = write_jsonl(tmp_path / "a.jsonl", *rows)
    stream = whole(tiny_tokenizer(), text)
    settings = PerplexitySettings(text=text, window_tokens=50, bos="once")
    windows_NT = evaluation_windows(tiny_tokenizer(), settings)
    assert windows_NT.shape == (len(stream) // 50, 50)
    assert windows_NT.flatten().tolist() == stream[: windows_NT.numel()]
    assert windows_NT[0, 0] == BOS
    assert not (windows_NT[1:] == BOS).any()


def test_a_stream_needs_one_token_more_than_a_block(tmp_path: Path) -> None:
    text = write_jsonl(tmp_path / "a.jsonl", "x" * 32)  # 33 tokens with <bos>
    settings = CalibrationSettings.model_validate(
        {"preset": "paper", "text": text, "blocks": 3, "block_tokens": 32}
    )
    assert calibration_blocks(tiny_tokenizer(), settings, 0)[:, 0].tolist() == [BOS] * 3
    with pytest.raises(CalibrationTooShortError, match="a random block needs more than 33"):
        calibration_blocks(tiny_tokenizer(), settings.model_copy(update={"block_tokens": 33}), 0)


def test_a_preset_is_a_way_of_writing_settings(tmp_path: Path) -> None:
    text = write_jsonl(tmp_path / "a.jsonl", "x")
    paper = CalibrationSettings.model_validate({"preset": "paper", "text": text})
    assert (paper.cut, paper.bos) == ("stream", "once")
    changed = CalibrationSettings.model_validate({"preset": "paper", "text": text, "bos": "never"})
    assert (changed.cut, changed.bos) == ("stream", "never")
