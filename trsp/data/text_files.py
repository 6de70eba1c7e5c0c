"""The rows of a local text: .jsonl, .parquet, or .txt with blank lines between documents.

Knows no hub, no torch and no tokenizer.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trsp.config import TextSource
from trsp.errors import InvalidInputError, unknown_name

PARAGRAPH = "\n\n"  # parts documents of a .txt file, and rows of one document


def file_rows(text: TextSource) -> Iterator[str]:
    """Yield the rows of a local text: lines, paragraphs or cells of a column.

    InvalidInputError: the file is not there or of no known kind, or a row is not what it should be.
    """
    path = Path(text.path or "")
    readers = {".jsonl": _jsonl_rows, ".parquet": _parquet_rows, ".txt": _txt_rows}
    if path.suffix not in readers:
        refusal = unknown_name("kind of text file", path.suffix or path.name, readers)
        raise InvalidInputError(f"text {text.name!r}: {refusal}")
    return readers[path.suffix](text, existing_file(text, path))


def existing_file(text: TextSource, path: Path) -> Path:
    """Return ``path``. InvalidInputError where there is no file."""
    if not path.is_file():
        raise InvalidInputError(
            f"text {text.name!r}: there is no file {path}; give a .jsonl, .parquet or .txt file"
        )
    return path


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a .jsonl file with the numbers of their lines, from 1.

    InvalidInputError: a line is not UTF-8, or no JSON object.
    """
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield number, _json_object(path, number, line)


def _jsonl_rows(text: TextSource, path: Path) -> Iterator[str]:
    for number, row in json_rows(path):
        yield field_of(text, row, f"{path}, line {number}")


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
            f"{path}, line {number}, is not JSON ({error}); a .jsonl file has one object per line"
        ) from None
    if not isinstance(row, dict):
        raise InvalidInputError(
            f"{path}, line {number}, is {type(row).__name__}; a .jsonl file has one object per line"
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


def field_of(text: TextSource, row: dict[str, Any], where: str) -> str:
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
