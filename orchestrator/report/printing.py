"""What the printed tables have in common: the console, lines, numbers and a cell's row.

Knows views; no store, cluster or tracking server.
"""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from orchestrator.redact import redact
from orchestrator.views.grid_view import CellView, DenseView, Status

_PIPED_WIDTH = 160  # columns where there is no terminal to ask
STYLES: Mapping[Status, str] = {
    Status.DONE: "green",
    Status.FAILED: "red",
    Status.KILLED: "red",
    Status.RUNNING: "cyan",
    Status.WAITING: "dim",
}
_HEADERS = {
    "params": "params",
    "bytes": "size",
    "kv_bytes_per_token": "kv B/token",
    "latency_ms": "latency ms",
}
SIZE_COLUMNS = tuple(_HEADERS)  # every number that a budget may limit
UNKNOWN = "-"  # in the place of a number
_UNITS = {"params": ("M", "B"), "bytes": ("MB", "GB")}  # of millions, and of billions


def console(stderr: bool = False) -> Console:
    """Return a console as wide as the terminal, and wide enough for every column in a file."""
    plain = Console(stderr=stderr, highlight=False)
    if plain.is_terminal:
        return plain
    return Console(stderr=stderr, highlight=False, width=_PIPED_WIDTH)


def print_line(out: Console, text: str) -> None:
    """Print a line as it is: paths and snippets are not wrapped, brackets are not markup.

    Credentials in it are hidden.
    """
    out.print(Text(redact(text)), soft_wrap=True)


def format_number(value: float | None) -> str:
    """Return four significant digits; from 1000 up whole numbers with their thousands parted.

    ``28.61``, ``1,234``; ``-`` for None.
    """
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def format_metric(name: str, value: float | None) -> str:
    """Return a metric's value; large ``params`` and ``bytes`` in units: ``134.5M``, ``6.74GB``."""
    units = _UNITS.get(name)
    if units is None or value is None or value < 1e5:
        return format_number(value)
    if value < 1e9:
        return f"{value / 1e6:.1f}{units[0]}"
    return f"{value / 1e9:.2f}{units[1]}"


def headers(names: Sequence[str]) -> list[str]:
    """Return the column headers of these metrics."""
    return [_HEADERS.get(name, name) for name in names]


def cell_row(cell: CellView, names: Sequence[str]) -> list[str]:
    """Return a cell's name, its removed layers and its values of these metrics."""
    layers = "-" if cell.layers is None else ", ".join(map(str, sorted(cell.layers)))
    return [escape(cell.cell.name), layers, *metric_texts(cell, names)]


def metric_texts(part: CellView | DenseView, names: Sequence[str]) -> list[str]:
    """Return the values of these metrics; a latency that is too noisy says so."""
    values = part.metrics()
    texts = {name: format_metric(name, values.get(name)) for name in names}
    if part.measurement is not None and part.measurement.noise and "latency_ms" in texts:
        texts["latency_ms"] += " noisy"
    return list(texts.values())
