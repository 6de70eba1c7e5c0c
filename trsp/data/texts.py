"""Where text comes from: documents of a local file or hub dataset.

Knows no torch and no tokenizer.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

from trsp.config import TextSource
from trsp.errors import HubError, InvalidInputError, unknown_name

PARAGRAPH = "\n\n"  # parts documents of a .txt file, and rows of one document
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH_CHUNK_BYTES = 1 << 20


def read_documents(text: TextSource) -> Iterator[str]:
    """Yield documents in the order of the file or dataset, at most ``text.max_documents``.

    Nothing is read beyond them. InvalidInputError: the file, dataset or column is not there.
    """
    rows = _hub_rows(text) if text.path is None else _file_rows(text, Path(text.path))
    if text.document_start is not None:
        rows = _grouped(rows, re.compile(text.document_start))
    return islice(rows, text.max_documents)


# --- local files ---------------------------------------------------------------


def _file_rows(text: TextSource, path: Path) -> Iterator[str]:
    readers = {".jsonl": _jsonl_rows, ".parquet": _parquet_rows, ".txt": _txt_rows}
    if path.suffix not in readers:
        refusal = unknown_name("kind of text file", path.suffix or path.name, readers)
        raise InvalidInputError(f"text {text.name!r}: {refusal}")
    return readers[path.suffix](text, existing_file(text, path))


def existing_file(text: TextSource, path: Path) -> Path:
    """Return the path. InvalidInputError where no file is there."""
    if not path.is_file():
        raise InvalidInputError(
            f"text {text.name!r}: there is no file {path}; give a .jsonl, .parquet or .txt file"
        )
    return path


def _jsonl_rows(text: TextSource, path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _field(text, _json_object(path, number, line), f"{path}, line {number}")


def _json_object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"{path}, line {number}, is not JSON ({error}); a .jsonl file has one object a line"
        ) from None
    if not isinstance(row, dict):
        raise InvalidInputError(
            f"{path}, line {number}, is {type(row).__name__}; a .jsonl file has one object a line"
        )
    return row


def _parquet_rows(text: TextSource, path: Path) -> Iterator[str]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    if text.field not in file.schema_arrow.names:
        raise InvalidInputError(
            f"{path}: {unknown_name('column', text.field, file.schema_arrow.names)}; set 'field'"
        )
    for batch in file.iter_batches(columns=[text.field]):
        yield from (value or "" for value in batch.column(0).to_pylist())


def _txt_rows(text: TextSource, path: Path) -> Iterator[str]:
    """Yield paragraphs, which blank lines part."""
    paragraph: list[str] = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                paragraph.append(line)
            elif paragraph:
                yield "".join(paragraph).rstrip("\n")
                paragraph = []
    if paragraph:
        yield "".join(paragraph).rstrip("\n")


def _field(text: TextSource, row: dict[str, Any], where: str) -> str:
    """Return the text in a row; null counts as empty. ``where`` names the row in a refusal."""
    if text.field not in row:
        raise InvalidInputError(f"{where}: {unknown_name('column', text.field, row)}; set 'field'")
    value = row[text.field] or ""
    if not isinstance(value, str):
        raise InvalidInputError(
            f"{where}: column {text.field!r} holds {type(value).__name__}, not text; set 'field'"
        )
    return value


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
    except InvalidInputError:
        raise
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        named = f"dataset {text.dataset!r} ({text.config}, {text.split}, {text.revision})"
        if isinstance(error, ConnectionError | TimeoutError) and not datasets.config.HF_HUB_OFFLINE:
            raise HubError(
                f"text {text.name!r}: {named}: the hub cannot be reached: {error}; try again, or "
                "set HF_HUB_OFFLINE=1 to use what is cached"
            ) from error
        raise InvalidInputError(
            f"text {text.name!r}: {named} cannot be loaded: {error}; check the names, or give a "
            "local file as 'path'"
        ) from error
    for number, row in enumerate(rows):
        yield _field(text, row, f"{text.dataset}, row {number}")


def _dataset(text: TextSource) -> Iterable[dict[str, Any]]:
    """Return the rows of the dataset at the revision.

    InvalidInputError where only those of another commit are cached, and the hub is away.
    """
    import datasets

    builder = datasets.load_dataset_builder(text.dataset, text.config, revision=text.revision)
    # Without the hub the newest cached copy is taken, whatever commit was asked for.
    if _COMMIT.fullmatch(text.revision) and builder.hash != text.revision:
        raise InvalidInputError(
            f"text {text.name!r}: what is cached here of dataset {text.dataset!r} is of commit "
            f"{builder.hash}, not {text.revision}; load it with the network, or set 'revision' to "
            "the commit that is cached"
        )
    if text.max_documents is not None:
        return cast("Iterable[dict[str, Any]]", builder.as_streaming_dataset(split=text.split))
    builder.download_and_prepare()
    return cast("Iterable[dict[str, Any]]", builder.as_dataset(split=text.split))


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
