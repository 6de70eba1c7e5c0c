"""Where text comes from: documents of a local file or hub dataset.

Knows no torch and no tokenizer.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

from trsp.config import TextSource
from trsp.data.text_files import PARAGRAPH, field_of, file_rows
from trsp.errors import InvalidInputError, UnreachableError
from trsp.outages import may_pass

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH_CHUNK_BYTES = 1 << 20


def read_documents(text: TextSource) -> Iterator[str]:
    """Yield documents in the order of the file or dataset, at most ``text.max_documents``.

    The first ``text.skip_documents`` are left out, and count for none of these. Nothing is read
    beyond them. InvalidInputError: the file, dataset or column is not there, or a
    row is not what it should be; UnreachableError: the hub gives no answer.
    """
    rows = _hub_rows(text) if text.path is None else file_rows(text)
    if text.document_start is not None:
        rows = _grouped(rows, _document_start(text))
    first = text.skip_documents or 0
    return islice(rows, first, None if text.max_documents is None else first + text.max_documents)


def check_text(text: TextSource, characters: int | None = None) -> None:
    """Raise InvalidInputError where a local text cannot be read.

    It is read up to so many ``characters``; with None, as far as it is ever used.
    """
    if text.path is None:
        return
    if characters is None:
        for _ in read_documents(text):
            pass
        return
    _document_start(text)
    left = characters
    for row in file_rows(text):
        left -= len(row)
        if left < 0:
            return


def file_sha256(path: Path) -> str:
    """Return the sha256 of the file's bytes, in hex.

    They are streamed: a 14 GB shard needs 1 MiB of memory.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


# --- hub -----------------------------------------------------------------------


def _hub_rows(text: TextSource) -> Iterator[str]:
    """Yield the rows of a hub dataset.

    They are streamed when only the first documents are wanted, else downloaded once into the hub's
    cache.
    """
    import datasets

    try:
        rows = _dataset(text)
    except (InvalidInputError, UnreachableError):
        raise
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        refusal = UnreachableError if may_pass(error) else InvalidInputError
        raise refusal(
            f"text {text.name!r}: dataset {text.dataset!r} ({text.config}, {text.split}, "
            f"{text.revision}) cannot be loaded: {error}; check the names, or give a local file as "
            "'path'"
        ) from error
    for number, row in enumerate(rows):
        yield field_of(text, row, f"{text.dataset}, row {number}")


def _dataset(text: TextSource) -> Iterable[dict[str, Any]]:
    """Return the rows of the dataset at the revision.

    Where only those of another commit are cached: UnreachableError where the hub gives no answer,
    InvalidInputError where it is not to be asked.
    """
    import datasets

    builder = datasets.load_dataset_builder(text.dataset, text.config, revision=text.revision)
    # Without the hub the newest cached copy is taken, whatever commit was asked for.
    if _COMMIT.fullmatch(text.revision) and builder.hash != text.revision:
        offline = datasets.config.HF_HUB_OFFLINE
        raise (InvalidInputError if offline else UnreachableError)(
            f"text {text.name!r}: what is cached here of dataset {text.dataset!r} is of commit "
            f"{builder.hash}, not {text.revision}; load it with the network, or set 'revision' to "
            "the commit that is cached"
        )
    if text.max_documents is not None:
        return cast("Iterable[dict[str, Any]]", builder.as_streaming_dataset(split=text.split))
    builder.download_and_prepare()
    return cast("Iterable[dict[str, Any]]", builder.as_dataset(split=text.split))


def _document_start(text: TextSource) -> re.Pattern[str]:
    """Return the pattern of a row that begins a document. InvalidInputError: it is none."""
    try:
        return re.compile(text.document_start or "")
    except re.error as error:
        raise InvalidInputError(
            f"text {text.name!r}: document_start {text.document_start!r} is no pattern: {error}; "
            "write a regular expression, such as '^ = [^=]'"
        ) from None


def _grouped(rows: Iterable[str], start: re.Pattern[str]) -> Iterator[str]:
    """Yield the documents of a running text, joined from its rows.

    One begins at every row that ``start`` matches at its beginning.
    """
    document: list[str] = []
    for row in rows:
        if document and start.match(row):
            yield PARAGRAPH.join(document)
            document = []
        document.append(row)
    if document:
        yield PARAGRAPH.join(document)
