"""``trsp compare`` as text for people: two checkpoints side by side. Decides nothing."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.report.printing import format_metric, headers, print_line
from orchestrator.views.budget import Comparison
from orchestrator.views.comparison import Row, SideBySide, common_layers


def print_comparison(both: SideBySide, out: Console) -> None:
    """Print every score with the verdict, then sizes, layers and settings that differ."""
    print_line(out, f"A: {both.names[0]}")
    print_line(out, f"B: {both.names[1]}")
    if both.is_one:
        print_line(out, "both are the same checkpoint")
    scores, others = (
        [row for row in both.rows if row.is_score is is_score] for is_score in (True, False)
    )
    for part in (_scores(scores), _sizes(others)):
        out.print()
        out.print(part)
    out.print()
    for line in _layers(both):
        print_line(out, line)
    if both.settings:
        out.print()
        out.print(_settings(both.settings))
    for warning in both.warnings:
        print_line(out, f"warning: {warning}")


def _table(*columns: str, numbers: int) -> Table:
    """Return a table of narrow columns; after the first, so many are of numbers."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if 0 < index <= numbers else "left", no_wrap=True)
    return table


def _scores(rows: Sequence[Row]) -> Table:
    table = _table("score", "A", "B", "B - A", "better", numbers=3)
    for row in rows:
        values = (format_metric(row.name, value) for value in (row.first, row.second))
        table.add_row(escape(row.name), *values, _difference(row.comparison), _verdict(row))
    return table


def _difference(comparison: Comparison | None) -> str:
    """Return the difference and its standard error: ``+0.35 +- 0.05 nats``."""
    if comparison is None:
        return "-"
    unit = " nats" if comparison.paired else ""
    return f"{comparison.difference:+.3g} +- {comparison.stderr:.2g}{unit}"


def _verdict(row: Row) -> str:
    """Return which is better, and over what: ``A, over 20 windows``, ``a tie``."""
    words = {"tie": "a tie", "first": "A", "second": "B", "": "not known"}[row.verdict]
    if row.comparison is not None and row.comparison.paired:
        return f"{words}, over {row.comparison.windows} windows"
    return words


def _sizes(rows: Sequence[Row]) -> Table:
    table = _table("size and speed", "A", "B", "B / A", numbers=3)
    for row, name in zip(rows, headers([row.name for row in rows]), strict=True):
        values = (format_metric(row.name, value) for value in (row.first, row.second))
        table.add_row(escape(name), *values, _quotient(row))
    return table


def _quotient(row: Row) -> str:
    return f"{row.second / row.first:.3g}" if row.first and row.second is not None else "-"


def _layers(both: SideBySide) -> Iterator[str]:
    """Yield which layers both remove, and which only one of them."""
    names = ("removed by both", "only by A", "only by B")
    for name, layers in zip(names, common_layers(both), strict=True):
        if layers or name == "removed by both":
            yield f"layers {name}: {', '.join(map(str, layers)) or 'none'}"


def _settings(settings: Sequence[tuple[str, str, str]]) -> Table:
    table = Table("setting", "A", "B", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for each in settings:
        table.add_row(*map(escape, each))
    return table
