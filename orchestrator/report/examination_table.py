"""What ``trsp doctor`` found, as tables for people; in a job's log of 80 columns."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from orchestrator.doctor.findings.finding import Finding, Verdict
from orchestrator.report.printing import print_line

MOST_COLUMNS = 100
LOG_COLUMNS = 80  # where there is no terminal
_STYLES: Mapping[Verdict, str] = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.WRONG: "bold red",
    Verdict.SKIPPED: "dim",
}
_WITH_CURE = (Verdict.WRONG, Verdict.WARNING)


def print_examination(
    findings: Sequence[Finding], nodes: Iterable[str], seconds: float, out: Console
) -> None:
    """Print every check, then what is wrong with its cure, and a last line that sums up."""
    out.width = min(out.width, MOST_COLUMNS) if out.is_terminal else LOG_COLUMNS
    for node in nodes:
        print_line(out, node)
    out.print(_checks_table(findings))
    ill = [finding for verdict in _WITH_CURE for finding in findings if finding.verdict is verdict]
    if ill:
        out.print(_cures_table(ill))
    print_line(out, _summary(findings, seconds))


def _table(*headers: str, show_lines: bool = False) -> Table:
    """Return an empty table in which a long path is folded, not cut."""
    return Table(*(Column(each, overflow="fold") for each in headers), show_lines=show_lines)


def _checks_table(findings: Sequence[Finding]) -> Table:
    table = _table("check", "", "where", "seen")
    for finding in findings:
        verdict = f"[{_STYLES[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(finding.check, verdict, escape(finding.where), escape(finding.seen))
    return table


def _cures_table(findings: Iterable[Finding]) -> Table:
    table = _table("", "what is wrong", "cure", show_lines=True)
    for number, finding in enumerate(findings, start=1):
        style = _STYLES[finding.verdict]
        what = f"[{style}]{finding.check}[/], {escape(finding.where)}: {escape(finding.seen)}"
        table.add_row(str(number), what, escape(finding.cure))
    return table


def _summary(findings: Sequence[Finding], seconds: float) -> str:
    """Return ``2 wrong, 1 warning, 7 well, in 96 s``."""
    words = {
        Verdict.WRONG: "wrong",
        Verdict.WARNING: "with a warning",
        Verdict.OK: "well",
        Verdict.SKIPPED: "skipped",
    }
    counts = {verdict: sum(f.verdict is verdict for f in findings) for verdict in words}
    parts = [f"{count} {words[verdict]}" for verdict, count in counts.items() if count]
    return f"{', '.join(parts)}, in {seconds:.0f} s"
