"""What llama.cpp is told of how a tokenizer cuts text into words."""

import json
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter

from orchestrator.export.gguf_file.vocabulary import add_vocabulary
from trsp.errors import InvalidInputError

# As in the tokenizer.json of Qwen 2 and of Llama 3.
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def told(folder: Path, regex: str, **changes: Any) -> Any:
    """What is told of a byte-level BPE whose words are cut by ``regex``."""
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    tokens = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    cut = {"type": "Sequence", "pretokenizers": [split, tokens]}
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]} | changes
    tokenizer = {"model": model, "normalizer": {"type": "NFC"}, "pre_tokenizer": cut}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    writer = GGUFWriter(None, "llama")
    add_vocabulary(writer, folder, size=4)
    return writer.kv_data[0]["tokenizer.ggml.pre"].value


def test_words_of_qwen2_are_known(tmp_path: Path) -> None:
    assert told(tmp_path, QWEN2) == "qwen2"


def test_words_of_llama3_are_known(tmp_path: Path) -> None:
    assert told(tmp_path, LLAMA3, ignore_merges=True) == "llama-bpe"


def test_llama_cpp_would_keep_words_whole_that_this_tokenizer_merges(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="this tokenizer is another"):
        told(tmp_path, LLAMA3, ignore_merges=False)


def test_words_that_nobody_knows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="this tokenizer is another"):
        told(tmp_path, r"\p{L}+")
