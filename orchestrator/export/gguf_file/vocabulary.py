"""A tokenizer as GGUF has it: tokens and their kinds, merges or scores, special tokens, template.

A tokenizer that GGUF's readers would cut text with in another way is refused, not approximated.
"""

import json
import re
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, SpecialVocab, TokenType

from trsp.errors import InvalidInputError

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")

# How text is cut into words -> llama.cpp's name of it, and whether a word that is a token stays so
_SPLITS: dict[tuple[str, ...], tuple[str, bool]] = {
    ("ByteLevel",): ("gpt-2", False),
    ("Digits", "ByteLevel"): ("smollm", False),
    (_QWEN2,): ("qwen2", False),
    (_LLAMA3,): ("llama-bpe", True),
}


def add_vocabulary(writer: GGUFWriter, folder: Path, size: int) -> None:
    """Write the tokenizer of a checkpoint's folder, filled up to ``size`` tokens.

    InvalidInputError where the folder has none, or one that GGUF cannot say.
    """
    path = folder / "tokenizer.json"
    told: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    split = _split(told)
    sentencepiece = _is_sentencepiece(told)
    if split is None and not sentencepiece:
        raise InvalidInputError(
            "--gguf writes byte-level BPE as of GPT-2, SmolLM, Qwen 2 and Llama 3, and "
            "sentencepiece BPE as of Llama 2; this tokenizer is another; export --to FOLDER, and "
            "give that to llama.cpp's convert_hf_to_gguf.py"
        )
    tokens, kinds = _tokens(told, size)
    writer.add_tokenizer_model("llama" if sentencepiece else "gpt2")
    writer.add_tokenizer_pre(split or "default")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if sentencepiece:
        writer.add_token_scores(_scores(told["model"], tokens))
        writer.add_add_space_prefix(True)
    special = SpecialVocab(folder, load_merges=not sentencepiece, n_vocab=size)
    for kind in ("bos", "eos"):  # readers differ in what they take for granted
        special.add_special_token.setdefault(kind, False)
    special.add_to_gguf(writer, quiet=True)


def _tokens(told: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Return the tokens by id and their kinds; ids without a token are named and unused."""
    added_tokens = told.get("added_tokens", [])
    ids = {*told["model"]["vocab"].values(), *(added["id"] for added in added_tokens)}
    if max(ids) >= size:
        raise InvalidInputError(
            f"the tokenizer's ids go up to {max(ids)}, the model's vocabulary has {size} tokens; "
            "save the model with a vocabulary that holds them all"
        )
    tokens = [f"[PAD{i}]" for i in range(size)]
    kinds = [int(TokenType.UNUSED)] * size
    for token, i in told["model"]["vocab"].items():
        byte = told["model"].get("byte_fallback") and re.fullmatch("<0x[0-9A-F]{2}>", token)
        tokens[i], kinds[i] = token, int(TokenType.BYTE if byte else TokenType.NORMAL)
    for added in added_tokens:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        tokens[added["id"]], kinds[added["id"]] = added["content"], int(kind)
    unknown = told["model"].get("unk_token")
    if unknown in told["model"]["vocab"] and told["model"].get("byte_fallback"):
        kinds[told["model"]["vocab"][unknown]] = int(TokenType.UNKNOWN)
    return tokens, kinds


def _scores(model: dict[str, Any], tokens: list[str]) -> list[float]:
    """Return sentencepiece's scores: the pair whose token scores highest is merged first.

    They are the negated ranks of the first merges that make the tokens, as sentencepiece itself
    counts them; what no merge makes is never compared.
    """
    ranks: dict[str, int] = {}
    for merge in model["merges"]:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault("".join(pair), len(ranks))
    return [-float(ranks.get(token, len(ranks))) for token in tokens]


def _split(told: dict[str, Any]) -> str | None:
    """Return llama.cpp's name of how a byte-level BPE cuts text into words; None: it has none."""
    model, normalizer = told.get("model") or {}, told.get("normalizer") or {"type": "NFC"}
    given = told.get("pre_tokenizer") or {}
    steps = given.get("pretokenizers", [given])
    if model.get("type") != "BPE" or model.get("byte_fallback") or normalizer != {"type": "NFC"}:
        return None
    if any(step.get("add_prefix_space") for step in steps) or not model.get("merges"):
        return None
    name, whole_words = _SPLITS.get(_cuts(steps), (None, False))
    return name if whole_words == bool(model.get("ignore_merges")) else None


def _cuts(steps: list[dict[str, Any]]) -> tuple[str, ...]:
    """What cuts words, in turn: regular expressions, or types; bytes alone cut nothing."""
    cuts = []
    for step in steps:
        if step.get("type") == "Split" and step["behavior"] == "Isolated" and not step["invert"]:
            cuts.append(step["pattern"].get("Regex", ""))
        elif step.get("type") != "ByteLevel" or step.get("use_regex", True):
            exact = step.get("type") != "Digits" or step["individual_digits"]
            cuts.append(step.get("type", "none") if exact else "numbers")
    return tuple(cuts)


def _is_sentencepiece(told: dict[str, Any]) -> bool:
    """Whether it is BPE as of sentencepiece: a space before the text, spaces as U+2581, bytes."""
    model = told.get("model") or {}
    prefixed = (told.get("normalizer") or {}).get("normalizers") == [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ] and told.get("pre_tokenizer") is None
    given = told.get("pre_tokenizer") or {}
    metaspace = (
        given.get("type") == "Metaspace"
        and given.get("prepend_scheme") in ("first", "always")
        and not given.get("split", True)
        and told.get("normalizer") is None
    )
    bpe = model.get("type") == "BPE" and bool(model.get("byte_fallback"))
    return bpe and (prefixed or metaspace)
