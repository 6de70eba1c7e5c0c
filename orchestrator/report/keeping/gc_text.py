"""``trsp gc`` as text for people: what a store holds, what of it nobody needs, what was freed."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.keeping.decide import Action
from orchestrator.keeping.held import by_kind
from orchestrator.keeping.survey import Survey
from orchestrator.keeping.sweep import Swept
from orchestrator.kept_grids.shelf import short_key
from orchestrator.report.cost.amounts import bytes_text
from orchestrator.report.printing import print_line

_MOST_GRIDS = 30  # in the table


def print_survey(survey: Survey, out: Console) -> None:
    """Print what a store holds by kind and by grid, and below what of it nobody needs."""
    out.print(_kinds(survey))
    if survey.needs.grids:
        out.print(_grids(survey))
    for note in survey.notes:
        print_line(out, f"note: {note}")
    for line in _unneeded(survey):
        print_line(out, line)


def _kinds(survey: Survey) -> Table:
    table = _table("the store holds", "size", "stages")
    for what, (size_bytes, stages) in by_kind(survey.stages).items():
        table.add_row(what, bytes_text(size_bytes), f"{stages:,}")
    if survey.cache_bytes is not None:
        table.add_row("this machine's cache of them", bytes_text(survey.cache_bytes), "")
    return table


def _grids(survey: Survey) -> Table:
    """Return a table of the kept grids, the newest first."""
    table = _table("grid", "needs", "alone", "key")
    for grid in survey.needs.grids[:_MOST_GRIDS]:
        needed, alone = map(bytes_text, survey.grid_bytes(grid.key))
        known = ("not known", "") if grid.unclear else (needed, alone)
        table.add_row(escape(grid.name), *known, short_key(grid.key).removeprefix("grid-"))
    if (more := len(survey.needs.grids) - _MOST_GRIDS) > 0:
        table.add_row(f"and {more} more", "", "", "")
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _unneeded(survey: Survey) -> Iterator[str]:
    decision = survey.decision
    for action in Action:
        if removals := decision.of(action):
            size = bytes_text(sum(each.size_bytes for each in removals))
            yield f"not needed: {size} of {len(removals):,} stage(s): {action}"
    if decision.kept_unmarked:
        yield f"stays: {decision.kept_unmarked:,} checkpoint(s) that an alias may mark"
    if decision.kept_young:
        yield f"stays: {decision.kept_young:,} stage(s) that were written too lately"
    if not decision.removals:
        yield "nothing is there that nobody needs"


def swept_lines(swept: Swept) -> Iterator[str]:
    """Yield what a sweep has freed, and what it has left alone."""
    yield f"freed {bytes_text(swept.size_bytes)} of {len(swept.removed):,} stage(s)"
    if swept.skipped:
        yield f"left alone: {swept.skipped:,} stage(s) that another driver works on now"
    if swept.stopped:
        yield f"stopped: {swept.stopped}; run trsp gc again to see what is left"
