"""What the files of a tokenizer say without loading it: whether it is there, and its largest ids.

No torch, no transformers.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trsp.errors import InvalidInputError

FAST = "tokenizer.json"
TOKENIZER_FILES = (FAST, "tokenizer_config.json", "tokenizer.model", "vocab.json")
_ADDED = "added_tokens.json"
_CONFIG = "tokenizer_config.json"
# Any of these patterns holds a vocabulary.
_VOCABULARIES = (FAST, "*.model", "vocab.json", "vocab.txt", "*.tiktoken", "tekken.json")


@dataclass(frozen=True)
class TokenIds:
    """The largest ids of a tokenizer: of what any text may become, and of added tokens.

    ``added`` are by content; they come up only where a text spells them out, or are put in front
    (``bos``, None where there is none).
    """

    largest: int
    added: Mapping[str, int]
    bos: str | None


def check_tokenizer_is_there(source: str, folder: Path) -> None:
    """Raise InvalidInputError for a folder without a vocabulary."""
    if not any(path.is_file() for pattern in _VOCABULARIES for path in folder.glob(pattern)):
        raise InvalidInputError(
            f"model {source!r} has no tokenizer: there is no {FAST} (or tokenizer.model, or "
            "vocab.json) in its folder; put its tokenizer.json and tokenizer_config.json there"
        )


def check_token_ids(source: str, folder: Path, vocabulary: int) -> str:
    """Return a remark on added tokens that the embedding lacks; empty where there are none.

    ``vocabulary``: rows of the embedding. InvalidInputError where ordinary text may become an id
    beyond it, or where what opens a text is one: the model could not read that. Nothing is known of
    a tokenizer without a ``tokenizer.json``.
    """
    ids = token_ids(source, folder)
    if ids is None:
        return ""
    if ids.largest >= vocabulary:
        raise _too_large(source, f"has ids up to {ids.largest}", vocabulary)
    if ids.bos is not None and ids.added.get(ids.bos, 0) >= vocabulary:
        opened = f"opens texts with {ids.bos!r}, id {ids.added[ids.bos]}"
        raise _too_large(source, opened, vocabulary)
    beyond = sorted(name for name, number in ids.added.items() if number >= vocabulary)
    if not beyond:
        return ""
    return (
        f"the tokenizer of {source!r} has {len(beyond)} added tokens beyond the embedding's "
        f"{vocabulary} rows ({', '.join(beyond[:3])}): a text that spells one out cannot be read"
    )


def _too_large(source: str, what: str, vocabulary: int) -> InvalidInputError:
    return InvalidInputError(
        f"the tokenizer of {source!r} {what}, but its embedding has {vocabulary} rows "
        "(config.json: vocab_size); take the tokenizer of this very checkpoint, or resize its "
        "embedding"
    )


def token_ids(source: str, folder: Path) -> TokenIds | None:
    """Return the ids that the folder's files name; None without a ``tokenizer.json``.

    InvalidInputError for a file that is not what it should be.
    """
    path = folder / FAST
    if not path.is_file():
        return None
    tokenizer = _object(source, path)
    model = tokenizer.get("model")
    if not isinstance(model, Mapping) or "vocab" not in model:
        raise _damaged(source, path, "it has no model.vocab")
    added = {str(each["content"]): int(each["id"]) for each in tokenizer.get("added_tokens") or ()}
    if (folder / _ADDED).is_file():
        added |= {str(name): int(each) for name, each in _object(source, folder / _ADDED).items()}
    largest = max(_ids(model["vocab"], added), default=-1)
    return TokenIds(largest, added, _bos(source, folder))


def _ids(vocabulary: Any, added: Mapping[str, int]) -> Iterator[int]:
    """Yield the ids of a vocabulary: a mapping, or a list whose places they are.

    Tokens that are added are left out: many vocabularies list them, too.
    """
    if isinstance(vocabulary, Mapping):
        return (number for name, number in vocabulary.items() if name not in added)
    names = (entry[0] for entry in vocabulary)
    return (number for number, name in enumerate(names) if name not in added)


def _bos(source: str, folder: Path) -> str | None:
    """Return the token that opens a text, as the tokenizer's config names it."""
    path = folder / _CONFIG
    named = _object(source, path).get("bos_token") if path.is_file() else None
    content = named.get("content") if isinstance(named, Mapping) else named
    return str(content) if content else None


def _object(source: str, path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(source, path, str(error)) from None
    if not isinstance(data, dict):
        raise _damaged(source, path, f"it holds a {type(data).__name__}")
    return data


def _damaged(source: str, path: Path, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"the tokenizer of {source!r} cannot be read: {path.name}: {reason}; "
        "put its tokenizer.json and tokenizer_config.json there"
    )
