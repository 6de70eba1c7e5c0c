"""Where text comes from: documents of a local file or hub dataset, and a fingerprint of them.

Knows no torch and no tokenizer.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from trsp.config import TextSource
from trsp.errors import InvalidInputError, UnreachableError, may_pass, unknown_name

PARAGRAPH = "\n\n"  # parts documents of a .txt file, and rows of one document
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_TIMEOUT_S = 5.0
_HASH_CHUNK_BYTES = 1 << 20


def read_documents(text: TextSource) -> Iterator[str]:
    """Yield documents in the order of the file or dataset, at most ``text.max_documents``.

    Nothing is read beyond them. InvalidInputError: the file, dataset or column is not there, or a
    row is not what it should be; UnreachableError: the hub gives no answer.
    """
    rows = _hub_rows(text) if text.path is None else _file_rows(text, Path(text.path))
    if text.document_start is not None:
        rows = _grouped(rows, re.compile(text.document_start))
    return islice(rows, text.max_documents)


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
    left = characters
    for row in _file_rows(text, Path(text.path)):
        left -= len(row)
        if left < 0:
            return


def text_fingerprint(text: TextSource) -> str:
    """Return a name of the content: sha256 of a file's bytes, or ``dataset@commit/config/split``.

    The commit is asked of the hub, else read from its local cache; offline and never cached, the
    revision stands as given.
    """
    if text.path is not None:
        return f"sha256:{file_sha256(_existing_file(text, Path(text.path)))}"
    assert text.dataset is not None  # TextSource has exactly one source
    commit = _dataset_commit(text.dataset, text.revision)
    return f"{text.dataset}@{commit}/{text.config or 'default'}/{text.split}"


# --- local files ---------------------------------------------------------------


def _file_rows(text: TextSource, path: Path) -> Iterator[str]:
    readers = {".jsonl": _jsonl_rows, ".parquet": _parquet_rows, ".txt": _txt_rows}
    if path.suffix not in readers:
        refusal = unknown_name("kind of text file", path.suffix or path.name, readers)
        raise InvalidInputError(f"text {text.name!r}: {refusal}")
    return readers[path.suffix](text, _existing_file(text, path))


def _existing_file(text: TextSource, path: Path) -> Path:
    if not path.is_file():
        raise InvalidInputError(
            f"text {text.name!r}: there is no file {path}; give a .jsonl, .parquet or .txt file"
        )
    return path


def _jsonl_rows(text: TextSource, path: Path) -> Iterator[str]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield _field(text, _json_object(path, number, line), f"{path}, line {number}")


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file. InvalidInputError: one is not UTF-8."""
    try:
        with path.open(encoding="utf-8") as lines:
            yield from lines
    except UnicodeDecodeError:
        raise _not_utf8(path) from None


def _not_utf8(path: Path) -> InvalidInputError:
    """Return the refusal of a file that is not UTF-8: it names the first line that is not."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return InvalidInputError(
                    f"{path}, line {number}, is not UTF-8 (byte {error.start + 1} of the line is "
                    f"0x{line[error.start]:02x}); write the file anew as UTF-8"
                )
    return InvalidInputError(f"{path} is not UTF-8; write the file anew as UTF-8")


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

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowInvalid as error:
        raise InvalidInputError(
            f"{path} is no parquet file ({error}); download or export it again"
        ) from None
    if text.field not in file.schema_arrow.names:
        raise InvalidInputError(
            f"{path}: {unknown_name('column', text.field, file.schema_arrow.names)}; set 'field'"
        )
    for batch in file.iter_batches(columns=[text.field]):
        for value in batch.column(0).to_pylist():
            yield _text_of(text, value, str(path))


def _txt_rows(text: TextSource, path: Path) -> Iterator[str]:
    """Yield paragraphs, which blank lines part."""
    paragraph: list[str] = []
    for line in _lines(path):
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
    return _text_of(text, row[text.field], where)


def _text_of(text: TextSource, value: Any, where: str) -> str:
    """Return a column's value, which must be text; null counts as empty."""
    value = value or ""
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
        rows = datasets.load_dataset(
            text.dataset,
            text.config,
            split=text.split,
            revision=text.revision,
            streaming=text.max_documents is not None,
        )
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        refusal = UnreachableError if may_pass(error) else InvalidInputError
        raise refusal(
            f"text {text.name!r}: dataset {text.dataset!r} ({text.config}, {text.split}, "
            f"{text.revision}) cannot be loaded: {error}; check the names, or give a local file as "
            "'path'"
        ) from error
    for number, row in enumerate(rows):
        yield _field(text, row, f"{text.dataset}, row {number}")


def _dataset_commit(dataset: str, revision: str) -> str:
    """Return the commit that ``revision`` of a hub dataset is at; ``revision`` when unknown."""
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    # The error of the HTTP library in use, raised where the hub is away.
    http_error: type[Exception] = HfHubHTTPError.__bases__[0]
    try:
        commit = HfApi().dataset_info(dataset, revision=revision, timeout=_HUB_TIMEOUT_S).sha
    except (OSError, http_error):
        commit = None
    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{dataset.replace('/', '--')}"
    cached = folder / "refs" / revision
    if commit is None and cached.is_file():
        commit = cached.read_text().strip()
    return commit or revision


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
