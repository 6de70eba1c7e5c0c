"""The text of a first grid: which column it is in, and how one file serves two purposes. Reads."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trsp.config import TextSource
from trsp.data.text_files import file_rows, json_rows
from trsp.errors import InvalidInputError

DEFAULT_COLUMN = "text"
_PART = 0.8  # for calibration, of a text too short for all that is wanted


@dataclass(frozen=True)
class Split:
    """Where a text is parted: the first ``documents`` are for calibration, the rest is held out.

    ``calibration`` and ``held_out``: the characters of both, as far as they were read. 0 documents:
    the text cannot be parted.
    """

    documents: int
    calibration: int
    held_out: int


def found_text(path: Path, column: str | None = None) -> TextSource:
    """Return a local text as a grid names it; the column is found where none is given.

    InvalidInputError: the file is not there, of no known kind, cannot be read, or holds several
    columns of text of which none is called ``text``.
    """
    path = path.expanduser().absolute()
    text = TextSource(name=free_name(path.stem), path=str(path), field=column or DEFAULT_COLUMN)
    if column is None and path.is_file():
        text = text.model_copy(update={"field": _column(path)})
    next(iter(file_rows(text)), None)
    return text


def _column(path: Path) -> str:
    """Return the column that holds the text: the only one that can, or ``text``."""
    columns = _text_columns(path)
    if DEFAULT_COLUMN in columns or not columns:
        return DEFAULT_COLUMN
    if len(columns) > 1:
        raise InvalidInputError(
            f"{path} has several columns of text: {', '.join(sorted(columns))}; say which by "
            "--column NAME"
        )
    return columns[0]


def _text_columns(path: Path) -> list[str]:
    """Return the columns of the file's rows that hold text; none where there are no columns."""
    if path.suffix == ".jsonl":
        row = next((row for _, row in json_rows(path)), {})
        return [name for name, value in row.items() if isinstance(value, str)]
    if path.suffix == ".parquet":
        import pyarrow.parquet

        try:
            schema = pyarrow.parquet.read_schema(path)
        except pyarrow.ArrowInvalid:
            return []  # whoever reads it says why
        return [
            field.name
            for field in schema
            if pyarrow.types.is_string(field.type) or pyarrow.types.is_large_string(field.type)
        ]
    return []


def characters_of(rows: Iterable[str], wanted: int) -> int:
    """Return the characters of the rows, which are read until there are as many as wanted."""
    found = 0
    for row in rows:
        found += len(row)
        if found >= wanted:
            break
    return found


def split_of(rows: Iterable[str], calibration: int, held_out: int) -> Split:
    """Return where to part a text, so that no document serves both purposes.

    ``calibration`` and ``held_out``: the characters that both want. Where there are fewer, the
    text is parted 80 to 20. Rows are read only as far as that needs.
    """
    lengths: list[int] = []
    total = 0
    for row in rows:
        lengths.append(len(row))
        total += len(row)
        if total >= calibration + held_out:
            break
    wanted = calibration if total >= calibration + held_out else int(_PART * total)
    documents = characters = 0
    for length in lengths[:-1]:  # one at least is held out
        if characters >= wanted:
            break
        documents, characters = documents + 1, characters + length
    return Split(documents, characters, total - characters)


def free_name(text: str) -> str:
    """Return the text as a name in metrics: letters, digits, ``-`` and ``_``; ``text`` of none."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "text"
