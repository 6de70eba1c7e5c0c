"""Token blocks for calibration and windows for perplexity, made of documents.

Knows no model and no device. BOS policy, the same for both: ``always`` and ``never`` as they say;
``auto`` puts one where the tokenizer itself would, and for the families that break without one
(BOS_REQUIRED) even where a converted tokenizer has forgotten to. No other special token is added.
Shapes: N blocks or windows, T tokens in each.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import chain, islice

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trsp.config import BosPolicy, CalibrationSettings, PerplexitySettings
from trsp.data.text_files import PARAGRAPH
from trsp.data.texts import read_documents
from trsp.errors import CalibrationTooShortError, InvalidInputError

# Classes of tokenizers: without <bos> Gemma's perplexity explodes.
BOS_REQUIRED = frozenset({"GemmaTokenizer", "GemmaTokenizerFast"})

# About twice a usual text's: the first guess at how many characters hold enough tokens.
_CHARACTERS_PER_TOKEN = 8


def calibration_blocks(
    tokenizer: PreTrainedTokenizerBase, settings: CalibrationSettings, seed: int
) -> Tensor:
    """Return ``settings.blocks`` blocks of ``block_tokens`` token ids, [N, T] int64.

    Documents are shuffled by ``seed``, each opened by BOS under the policy, parted by a blank line,
    joined and cut; one seed always gives the same blocks. Tokenizing stops at enough.
    CalibrationTooShortError: the text does not fill all blocks (never silently fewer).
    """
    bos = bos_ids(tokenizer, settings.bos)
    documents = list(read_documents(settings.text))
    random.Random(seed).shuffle(documents)
    needed = settings.blocks * settings.block_tokens
    tokens = list(islice(chain.from_iterable(_opened(tokenizer, documents, bos)), needed))
    if len(tokens) < needed:
        raise _too_short(settings, len(tokens))
    return torch.tensor(tokens, dtype=torch.int64).view(settings.blocks, settings.block_tokens)


def evaluation_windows(tokenizer: PreTrainedTokenizerBase, settings: PerplexitySettings) -> Tensor:
    """Return non-overlapping windows of the text in document order, [N, T] int64.

    The documents are parted by blank lines and tokenized as one text, as published perplexities
    are; under the policy every window starts with BOS, which takes one of its ``window_tokens``
    places. The incomplete last window is left out; N is at most ``max_windows``.
    CalibrationTooShortError: the text does not fill one window.
    """
    bos = bos_ids(tokenizer, settings.bos)
    content = settings.window_tokens - len(bos)
    limit = None if settings.max_windows is None else settings.max_windows * content
    tokens = _leading_tokens(tokenizer, read_documents(settings.text), limit)
    if len(tokens) < content:
        raise CalibrationTooShortError(
            f"text {settings.text.name!r} holds {len(tokens)} tokens, less than one window of "
            f"{content}: give more text or lower window_tokens"
        )
    starts = range(0, len(tokens) - content + 1, content)
    return torch.tensor(
        [bos + tokens[start : start + content] for start in starts], dtype=torch.int64
    )


def bos_ids(tokenizer: PreTrainedTokenizerBase, policy: BosPolicy) -> list[int]:
    """Return what opens a text: ``[bos]`` or nothing.

    InvalidInputError: ``always`` for a tokenizer that has no BOS.
    """
    bos = tokenizer.bos_token_id
    if policy == "always" and bos is None:
        raise InvalidInputError(
            "bos: always, but this tokenizer has no BOS token; set bos: auto or never"
        )
    if policy == "never" or bos is None:
        return []
    opened = (
        policy == "always"
        or type(tokenizer).__name__ in BOS_REQUIRED
        or tokenizer("a")["input_ids"][:1] == [bos]
    )
    return [bos] if opened else []


def _opened(
    tokenizer: PreTrainedTokenizerBase, documents: Iterable[str], bos: list[int]
) -> Iterator[list[int]]:
    """Yield the tokens of each document, opened by ``bos`` and closed by a blank line."""
    for document in documents:
        yield bos + _token_ids(tokenizer, document + PARAGRAPH)


def _leading_tokens(
    tokenizer: PreTrainedTokenizerBase, documents: Iterator[str], limit: int | None
) -> list[int]:
    """Return the first ``limit`` tokens of the joined documents, or all of them (None).

    Little more text is read than that takes.
    """
    taken: list[str] = []
    characters = 0
    target = _CHARACTERS_PER_TOKEN * (limit or 0)
    for document in documents:
        taken.append(document)
        characters += len(document)
        if limit is not None and characters >= target:
            tokens = _token_ids(tokenizer, PARAGRAPH.join(taken))
            if len(tokens) > limit:  # one to spare: text to come can only change the last token
                return tokens[:limit]
            target *= 2
    return _token_ids(tokenizer, PARAGRAPH.join(taken))[:limit]


def _token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _too_short(settings: CalibrationSettings, tokens: int) -> CalibrationTooShortError:
    whole = tokens // settings.block_tokens
    return CalibrationTooShortError(
        f"calibration text {settings.text.name!r} holds {tokens} tokens: {whole} blocks of "
        f"{settings.block_tokens}, but {settings.blocks} are asked for "
        f"({settings.blocks * settings.block_tokens} tokens); "
        "give more text, or lower calibration.blocks or calibration.block_tokens"
    )
