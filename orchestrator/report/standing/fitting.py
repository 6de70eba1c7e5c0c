"""Texts that fit a terminal: shortened or wrapped between words, never within a number. Pure."""

import re
from collections.abc import Iterator, Sequence

from rich.cells import cell_len

ELLIPSIS = "…"
# What a word may be parted into: numbers stay whole, and so do short runs of letters.
_PIECES = re.compile(r"[0-9][0-9.,e+%-]*|[^\W\d_]{1,8}|.")


def shortened(name: str, width: int) -> str:
    """Return a name of at most ``width`` columns: where it is longer, ``…`` is in its middle.

    Whole words go, so that no number is cut; of a single word, pieces between its numbers.
    """
    if cell_len(name) <= width:
        return name
    words = name.split(" ")
    if len(words) > 2 and (short := _without_middle(words, " ", width)):
        return short
    pieces = _PIECES.findall(name)
    return _without_middle(pieces, "", width) or ELLIPSIS[:width]


def alike(names: Sequence[str], width: int) -> bool:
    """Whether different names read alike where they are shortened to so many columns."""
    return len({shortened(name, max(1, width)) for name in names}) < len({*names})


def _without_middle(parts: Sequence[str], between: str, width: int) -> str:
    """Return as many of the first and last parts as fit, those first that begin; "" if none do."""
    first, last = 1, 1
    best = ""
    while first + last <= len(parts):
        joined = between.join((*parts[:first], ELLIPSIS, *parts[len(parts) - last :]))
        if cell_len(joined) > width:
            break
        best = joined
        first, last = (first + 1, last) if first <= last else (first, last + 1)
    return best


def wrapped(text: str, width: int, lines: int | None = None) -> list[str]:
    """Return the text in lines of at most ``width`` columns, parted between words.

    A word that is wider is parted between its numbers. Of more than ``lines`` lines the last one
    that is left ends with ``…``.
    """
    found = [""]
    for word in _words(text, width):
        joined = f"{found[-1]} {word}".lstrip()
        if cell_len(joined) <= width:
            found[-1] = joined
        else:
            found.append(word)
    if lines is None or len(found) <= lines:
        return found
    kept = found[:lines]
    return [*kept[:-1], _with_ellipsis(kept[-1], width)] if kept else []


def _with_ellipsis(line: str, width: int) -> str:
    words = line.split(" ")
    while words and cell_len(" ".join((*words, ELLIPSIS))) > width:
        words.pop()
    return " ".join((*words, ELLIPSIS))


def _words(text: str, width: int) -> Iterator[str]:
    """Yield the words; those that are too wide in parts, at the cost of a space between these."""
    for word in text.split():
        part = ""
        for piece in _PIECES.findall(word) if cell_len(word) > width else (word,):
            if part and cell_len(part + piece) > width:
                yield part
                part = ""
            part += piece[:width]
        yield part


def duration(seconds: float) -> str:
    """Return a time for people: ``8 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = max(0, round(seconds))
    for unit, size, lesser, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= size:
            return _two(whole // size, unit, whole % size // small, lesser)
    return _two(whole // 60, "min", whole % 60, "s") if whole >= 60 else f"{whole} s"


def _two(most: int, unit: str, rest: int, lesser: str) -> str:
    return f"{most} {unit} {rest} {lesser}" if rest else f"{most} {unit}"
