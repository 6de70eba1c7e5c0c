"""Calibration blocks and evaluation windows, on a tiny real tokenizer that adds <bos> itself."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from tests.tiny import VOCABULARY, tiny_tokenizer, write_jsonl
from trsp.config import BosPolicy, CalibrationSettings, PerplexitySettings, TextSource
from trsp.data.blocks import bos_ids, calibration_blocks, evaluation_windows
from trsp.data.texts import read_documents
from trsp.errors import CalibrationTooShortError, InvalidInputError

BOS = 257


BOS_LESS = tiny_tokenizer(adds_bos=False)


def decoded(tokens: torch.Tensor) -> str:
    text = tiny_tokenizer().decode(tokens.flatten())
    assert isinstance(text, str)
    return text


# --- BOS ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokenizer", "policy", "needs_bos", "expected"),
    [
        (tiny_tokenizer(), "auto", False, [BOS]),
        (tiny_tokenizer(), "never", False, []),
        (tiny_tokenizer(), "once", False, [BOS]),
        (BOS_LESS, "once", False, []),
        (BOS_LESS, "auto", False, []),
        (BOS_LESS, "always", False, [BOS]),
        (BOS_LESS, "auto", True, [BOS]),
        (BOS_LESS, "once", True, [BOS]),
        (BOS_LESS, "never", True, []),
    ],
)
def test_bos_policy(
    tokenizer: PreTrainedTokenizerFast, policy: BosPolicy, needs_bos: bool, expected: list[int]
) -> None:
    assert bos_ids(tokenizer, policy, needs_bos=needs_bos) == expected


def test_bos_always_needs_a_bos() -> None:
    without = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer().backend_tokenizer)
    with pytest.raises(InvalidInputError, match="has no BOS token"):
        bos_ids(without, "always")


# --- calibration blocks -------------------------------------------------------


def test_every_block_is_bos_and_then_the_shuffled_documents_go_on(tmp_path: Path) -> None:
    texts = [f"document {i} " + "x" * i for i in range(20)]
    settings = CalibrationSettings(
        text=write_jsonl(tmp_path / "a.jsonl", *texts), blocks=27, block_tokens=16
    )
    tokens_NT = calibration_blocks(tiny_tokenizer(), settings, seed=1)
    assert tokens_NT.shape == (27, 16)
    assert tokens_NT.dtype == torch.int64
    assert tokens_NT[:, 0].tolist() == [BOS] * 27
    assert not (tokens_NT[:, 1:] == BOS).any()
    found = decoded(tokens_NT[:, 1:]).split("\n\n")
    assert found[:-1] == [text for text in found[:-1] if text in texts]  # whole and parted
    assert len(set(found)) == len(found) > 15
    assert found[:-1] != texts[: len(found) - 1]


def test_a_block_is_what_an_evaluation_window_of_the_same_text_is(tmp_path: Path) -> None:
    text = write_jsonl(tmp_path / "a.jsonl", "one long document " * 20)
    for bos in ("auto", "never", "once"):
        blocks = CalibrationSettings(text=text, blocks=4, block_tokens=32, bos=bos)
        windows = PerplexitySettings(text=text, window_tokens=32, max_windows=4, bos=bos)
        assert calibration_blocks(tiny_tokenizer(), blocks, 0).equal(
            evaluation_windows(tiny_tokenizer(), windows)
        )


def test_what_a_family_that_needs_bos_reads_is_opened_by_it(text_file: Path) -> None:
    text = TextSource(name="t", path=str(text_file))
    settings = CalibrationSettings(text=text, blocks=4, block_tokens=64)
    blocks_NT = calibration_blocks(BOS_LESS, settings, 0, needs_bos=True)
    assert blocks_NT[:, 0].tolist() == [BOS] * 4
    perplexity = PerplexitySettings(text=text, window_tokens=64, max_windows=4)
    windows_NT = evaluation_windows(BOS_LESS, perplexity, needs_bos=True)
    assert windows_NT[:, 0].tolist() == [BOS] * 4


def test_without_a_bos_blocks_are_all_text(text_file: Path) -> None:
    text = TextSource(name="t", path=str(text_file))
    settings = CalibrationSettings(text=text, blocks=4, block_tokens=64)
    without = calibration_blocks(BOS_LESS, settings, 0)
    opened = calibration_blocks(tiny_tokenizer(), settings, 0)
    assert without.flatten()[: 4 * 63].equal(opened[:, 1:].flatten())


def test_empty_documents_are_no_calibration_text(tmp_path: Path) -> None:
    text = write_jsonl(tmp_path / "a.jsonl", "", "first", " \n", "", "second", "")
    settings = CalibrationSettings(text=text, blocks=1, block_tokens=13, bos="never")
    found = decoded(calibration_blocks(tiny_tokenizer(), settings, 0))
    assert found in ("first\n\nsecond", "second\n\nfirst")


def test_blocks_are_the_same_for_the_same_seed_only(text_file: Path) -> None:
    text = TextSource(name="t", path=str(text_file))
    for cut in ("documents", "stream"):
        settings = CalibrationSettings(text=text, blocks=4, block_tokens=64, cut=cut)
        first, again, other = (
            calibration_blocks(tiny_tokenizer(), settings, seed) for seed in (3, 3, 4)
        )
        assert first.equal(again)
        assert not first.equal(other)


def test_fewer_blocks_are_a_prefix(text_file: Path) -> None:
    text = TextSource(name="t", path=str(text_file))
    for cut in ("documents", "stream"):
        settings = CalibrationSettings(text=text, blocks=8, block_tokens=64, cut=cut)
        fewer = settings.model_copy(update={"blocks": 2})
        assert calibration_blocks(tiny_tokenizer(), settings, 0)[:2].equal(
            calibration_blocks(tiny_tokenizer(), fewer, 0)
        )


def test_tokenizing_stops_at_enough(text_file: Path) -> None:
    class Counting(PreTrainedTokenizerFast):
        characters = 0

        def __call__(self, text: str, **kwargs: object) -> object:
            Counting.characters += len(text)
            return super().__call__(text, **kwargs)

    tokenizer = Counting(tokenizer_object=tiny_tokenizer().backend_tokenizer, bos_token="<bos>")
    text = TextSource(name="t", path=str(text_file))
    calibration_blocks(tokenizer, CalibrationSettings(text=text, blocks=1, block_tokens=8), 0)
    longest = max(len(document) for document in read_documents(text))
    assert Counting.characters <= 1 + longest  # one for the BOS policy, one document of 64


def test_text_shorter_than_a_block_or_than_all_blocks_is_refused(tmp_path: Path) -> None:
    text = write_jsonl(tmp_path / "a.jsonl", "x" * 90)
    exact = CalibrationSettings(text=text, blocks=10, block_tokens=10)  # nine of text in each
    assert calibration_blocks(tiny_tokenizer(), exact, 0).shape == (10, 10)
    with pytest.raises(
        CalibrationTooShortError,
        match=r"holds 90 tokens: 10 blocks of 9, but 11 are asked for \(99 tokens\)",
    ):
        calibration_blocks(tiny_tokenizer(), exact.model_copy(update={"blocks": 11}), 0)
    with pytest.raises(CalibrationTooShortError, match="holds 90 tokens: 0 blocks of 91"):
        calibration_blocks(tiny_tokenizer(), exact.model_copy(update={"block_tokens": 92}), 0)


# --- evaluation windows -------------------------------------------------------


def test_windows_hold_the_text_in_order_each_opened_by_bos(tmp_path: Path) -> None:
    # 28 bytes with two blank lines.
    text = write_jsonl(tmp_path / "a.jsonl", "abcdefgh", "ijklmnop", "qrstuvwx")
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


# The first guess reads too much, or too little.
@pytest.mark.parametrize("characters_per_token", [8, 0.3])
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


def test_text_to_come_may_change_more_than_the_last_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``cab`` is ``c ab``, but ``ca b\\n`` before a line break: the end is not settled."""
    merges = [("b", "\n"), ("a", "b"), ("c", "a")]
    symbols = ["x", "a", "b", "c", "\n", *("".join(pair) for pair in merges)]
    backend = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(symbols)}, merges=merges))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    monkeypatch.setattr("trsp.data.blocks._CHARACTERS_PER_TOKEN", 1)
    text = write_jsonl(tmp_path / "a.jsonl", "xxxxxxxcab", *["x" * 50] * 3)
    settings = PerplexitySettings(text=text, window_tokens=8)
    first = evaluation_windows(tokenizer, settings.model_copy(update={"max_windows": 1}))
    assert first.equal(evaluation_windows(tokenizer, settings)[:1])


def test_text_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    settings = PerplexitySettings(text=write_jsonl(tmp_path / "a.jsonl", "x" * 9), window_tokens=10)
    assert evaluation_windows(tiny_tokenizer(), settings).shape == (1, 10)
    with pytest.raises(
        CalibrationTooShortError, match="holds 9 tokens, less than one window of 10"
    ):
        evaluation_windows(tiny_tokenizer(), settings.model_copy(update={"window_tokens": 11}))


def test_the_tokenizer_fits_the_models() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer("The river é").input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert max(ids) < len(tokenizer) <= VOCABULARY
