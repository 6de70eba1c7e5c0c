"""Token blocks for calibration and windows for perplexity: pieces of one length, cut alike.

Knows no model and no device. The documents of a text are joined by blank lines and tokenized as
one; pieces hold consecutive tokens of that. BOS policy, the same for both: ``always`` and
``never`` open every piece as they say; ``auto`` opens every piece with a BOS where the tokenizer
itself would put one, and for the families that break without one (``needs_bos``) even where a
converted tokenizer has forgotten to; ``once`` opens the whole text so, and no piece. No other
special token is added. Shapes: N blocks or windows, T tokens in each.
"""

import random
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trsp.config import BosPolicy, CalibrationSettings, PerplexitySettings
from trsp.data.text_files import PARAGRAPH
from trsp.data.texts import read_documents
from trsp.errors import CalibrationTooShortError, InvalidInputError

# About twice a usual text's: the first guess at how many characters hold enough tokens.
_CHARACTERS_PER_TOKEN = 8
# Tokens at the end of a text that the text to come may still change.
_UNSETTLED_TOKENS = 64


class _Pieces:
    """How a text is cut into pieces of one length, opened by BOS as the policy says."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, policy: BosPolicy, length: int, *, needs_bos: bool
    ) -> None:
        self.tokenizer, self.length = tokenizer, length
        bos = bos_ids(tokenizer, policy, needs_bos=needs_bos)
        self.text_bos, self.piece_bos = (bos, []) if policy == "once" else ([], bos)

    @property
    def content(self) -> int:
        """The number of tokens of text in a piece."""
        return self.length - len(self.piece_bos)

    def tokens(self, documents: Iterable[str], pieces: int | None = None) -> list[int]:
        """Return the tokens of the joined documents: all, or as many as fill so many pieces."""
        limit = None if pieces is None else pieces * self.content
        return _leading_tokens(self.tokenizer, documents, self.text_bos, limit)

    def cut(self, tokens: Sequence[int], starts: Iterable[int]) -> Tensor:
        """Return the pieces of the text's ``tokens`` that begin at ``starts``, [N, T] int64."""
        rows = [[*self.piece_bos, *tokens[start : start + self.content]] for start in starts]
        return torch.tensor(rows, dtype=torch.int64)


def calibration_blocks(
    tokenizer: PreTrainedTokenizerBase,
    settings: CalibrationSettings,
    seed: int,
    *,
    needs_bos: bool = False,
) -> Tensor:
    """Return ``settings.blocks`` blocks of ``block_tokens`` token ids, [N, T] int64.

    One seed always gives the same blocks, and fewer of them are the first of more. ``needs_bos``:
    whether the model's family cannot do without BOS (``trsp.architecture.families.needs_bos``).
    CalibrationTooShortError: the text does not fill all blocks (never silently fewer).
    """
    pieces = _Pieces(tokenizer, settings.bos, settings.block_tokens, needs_bos=needs_bos)
    blocks = _random_blocks if settings.cut == "stream" else _consecutive_blocks
    return blocks(pieces, settings, random.Random(seed))


def evaluation_windows(
    tokenizer: PreTrainedTokenizerBase, settings: PerplexitySettings, *, needs_bos: bool = False
) -> Tensor:
    """Return non-overlapping windows of the text in document order, [N, T] int64.

    Where the policy opens every window with BOS, it takes one of its ``window_tokens`` places. The
    incomplete last window is left out; N is at most ``max_windows``. ``needs_bos``: as for
    ``calibration_blocks``.
    CalibrationTooShortError: the text does not fill one window.
    """
    pieces = _Pieces(tokenizer, settings.bos, settings.window_tokens, needs_bos=needs_bos)
    tokens = pieces.tokens(read_documents(settings.text), settings.max_windows)
    if len(tokens) < pieces.content:
        raise CalibrationTooShortError(
            f"text {settings.text.name!r} holds {len(tokens)} tokens, less than one window of "
            f"{pieces.content}: give more text or lower window_tokens"
        )
    return pieces.cut(tokens, range(0, len(tokens) - pieces.content + 1, pieces.content))


def bos_ids(
    tokenizer: PreTrainedTokenizerBase, policy: BosPolicy, *, needs_bos: bool = False
) -> list[int]:
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
    opened = policy == "always" or needs_bos or tokenizer("a")["input_ids"][:1] == [bos]
    return [bos] if opened else []


def _consecutive_blocks(
    pieces: _Pieces, settings: CalibrationSettings, rng: random.Random
) -> Tensor:
    """Return the first blocks of the documents in a random order, empty ones dropped."""
    documents = [text for text in read_documents(settings.text) if text.strip()]
    rng.shuffle(documents)
    tokens, needed = pieces.tokens(documents, settings.blocks), settings.blocks * pieces.content
    if len(tokens) < needed:
        raise _too_short(
            settings,
            f"{len(tokens)} tokens: {len(tokens) // pieces.content} blocks of {pieces.content}, "
            f"but {settings.blocks} are asked for ({needed} tokens)",
        )
    return pieces.cut(tokens, range(0, needed, pieces.content))


def _random_blocks(pieces: _Pieces, settings: CalibrationSettings, rng: random.Random) -> Tensor:
    """Return blocks that begin anywhere in the whole text, empty rows included; they may overlap.

    The draws are those of the published loaders: ``randint(0, tokens - length - 1)`` per block.
    """
    tokens = pieces.tokens(read_documents(settings.text))
    last = len(tokens) - pieces.content - 1
    if last < 0:
        found = f"{len(tokens)} tokens, and a random block needs more than {pieces.content}"
        raise _too_short(settings, found)
    return pieces.cut(tokens, [rng.randint(0, last) for _ in range(settings.blocks)])


def _too_short(settings: CalibrationSettings, found: str) -> CalibrationTooShortError:
    return CalibrationTooShortError(
        f"calibration text {settings.text.name!r} holds {found}; "
        "give more text, or lower calibration.blocks or calibration.block_tokens"
    )


def _leading_tokens(
    tokenizer: PreTrainedTokenizerBase, documents: Iterable[str], bos: list[int], limit: int | None
) -> list[int]:
    """Return ``bos`` and the joined documents' tokens: the first ``limit``, or all of them (None).

    Little more text is read and tokenized than that takes.
    """
    taken: list[str] = []
    characters = 0
    target = _CHARACTERS_PER_TOKEN * (limit or 0)
    for document in documents:
        taken.append(document)
        characters += len(document)
        if limit is not None and characters >= target:
            tokens = bos + _token_ids(tokenizer, PARAGRAPH.join(taken))
            if len(tokens) >= limit + _UNSETTLED_TOKENS:
                return tokens[:limit]
            target *= 2
    return (bos + _token_ids(tokenizer, PARAGRAPH.join(taken)))[:limit]


def _token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids
