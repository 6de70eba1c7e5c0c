"""Which cell of a grid people mean: by its name, a part of it, its key or its number. Pure."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches

from orchestrator.views.grid_view import CellView
from trsp.errors import InvalidInputError

_MOST_NAMED = 6  # cells in an error


def find_cell(cells: Sequence[CellView], text: str) -> CellView:
    """Return the one cell that ``text`` means.

    That is its name; a part of it that no other has, as words in any order (``gates r=0.1``); the
    beginning of its key (``cell-1f3a``); or ``#3``, the third of the grid. InvalidInputError where
    several are meant, with these, and where none is, with the nearest.
    """
    ways: Sequence[Callable[[CellView], bool]] = (
        lambda cell: cell.cell.name == text,
        lambda cell: text.startswith("cell-") and cell.cell.key.startswith(text),
        lambda cell: _words(text) <= _words(cell.cell.name),
        lambda cell: all(word in cell.cell.name.lower() for word in _words(text)),
    )
    if (number := text.removeprefix("#")).isdigit() and 0 < int(number) <= len(cells):
        return cells[int(number) - 1]
    for meant in ways:
        found = [cell for cell in cells if text.strip() and meant(cell)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidInputError(f"{text!r} is a part of {_several(found)}")
    raise InvalidInputError(_unknown(cells, text))


def _words(text: str) -> set[str]:
    return set(text.lower().split())


def _several(cells: Sequence[CellView]) -> str:
    """Return how many cells these are, and the names of the first of them, a line each."""
    names = "".join(f"\n  {cell.cell.name}" for cell in cells[:_MOST_NAMED])
    more = f"\n  and {len(cells) - _MOST_NAMED} more" if len(cells) > _MOST_NAMED else ""
    return f"the names of {len(cells)} cells, give more of one:{names}{more}"


def _unknown(cells: Sequence[CellView], text: str) -> str:
    """Return what is said where no cell is meant, with those whose names are the nearest."""
    names = [cell.cell.name for cell in cells]
    near = get_close_matches(text, names, n=3, cutoff=0.3)
    if len(cells) <= _MOST_NAMED or not near:
        near = names[:_MOST_NAMED]
    listed = "".join(f"\n  {name}" for name in near)
    return (
        f"no cell of the grid is called {text!r}; the nearest of its {len(cells)} are:{listed}\n"
        "a part of a name will do, and so will #1 for the grid's first cell"
    )
