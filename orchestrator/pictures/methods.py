"""Which colour and which marker a method has, the same in all pictures of a grid.

A selector has a colour, a transfer a marker, so that a key names each once however many pairs there
are. What comes after the sixth selector or the seventh transfer shares the look of ``others``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.lines import Line2D

from orchestrator.grid.cells import Cell
from orchestrator.pictures.theme import LIGHT, SERIES
from orchestrator.views.grid_view import CellView

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", ":", "-.")
_OTHER_MARKER = "."
_OTHERS = "others"


@dataclass(frozen=True)
class Methods:
    """The looks of a grid's methods: ``colours`` by selector, ``markers`` by transfer."""

    colours: Mapping[str, str]
    markers: Mapping[str, str]

    def look(self, cell: Cell) -> dict[str, Any]:
        """Return a cell's colour and marker, as arguments of matplotlib."""
        return {"color": self.colours[selector_of(cell)], "marker": self.markers[transfer_of(cell)]}

    def line(self, cell: Cell) -> str:
        """Return the style of a line through cells of its transfer."""
        return _LINES[list(self.markers).index(transfer_of(cell)) % len(_LINES)]

    def key(self) -> list[list[Line2D]]:
        """Return the entries of a key: the selectors, and the transfers."""
        colours = _shown(self.colours, LIGHT["others"])
        markers = _shown(self.markers, _OTHER_MARKER)
        look: dict[str, Any] = {"color": LIGHT["muted"], "ls": "", "ms": 6}
        return [
            [Line2D([], [], color=colour, lw=4, label=name) for name, colour in colours.items()],
            [Line2D([], [], marker=marker, label=name, **look) for name, marker in markers.items()],
        ]


def methods_of(cells: Iterable[CellView]) -> Methods:
    """Return the looks of all methods of these cells, in the order in which they come."""
    listed = [view.cell for view in cells]
    return Methods(
        _dealt(map(selector_of, listed), SERIES, LIGHT["others"]),
        _dealt(map(transfer_of, listed), _MARKERS, _OTHER_MARKER),
    )


def selector_of(cell: Cell) -> str:
    """Return the name of a cell's selector, as it stands apart from the grid's others."""
    return cell.selector_label or cell.selector.name


def transfer_of(cell: Cell) -> str:
    """Return the name of a cell's transfer, as it stands apart from the grid's others."""
    return cell.transfer_label or cell.transfer.name


def _dealt(names: Iterable[str], looks: tuple[str, ...], other: str) -> dict[str, str]:
    """Return a look for each name: the next one, and ``other`` once they are used up."""
    unique = list(dict.fromkeys(names))
    return {name: looks[i] if i < len(looks) else other for i, name in enumerate(unique)}


def _shown(looks: Mapping[str, str], other: str) -> dict[str, str]:
    """Return the looks with one entry for all that share ``other``."""
    return {(_OTHERS if look == other else name): look for name, look in looks.items()}
