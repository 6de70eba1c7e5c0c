"""A grid on one screen of so many columns and lines: what matters most is first, and whole. Pure.

Totals and times, then what runs, what failed and why, what waits and for what, and what is done.
Where there is no room for all of a section, its first rows are shown and the others counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from orchestrator.coordination.news import DriverNews
from orchestrator.redact import redact
from orchestrator.report.printing import STYLES
from orchestrator.report.standing.done_rows import done_rows
from orchestrator.report.standing.fitting import alike, duration, shortened, wrapped
from orchestrator.report.standing.rows import Group, Running, counts, failed, running, waiting
from orchestrator.views.grid_view import GridView, Status

_NOTICE_LINES = 2
_REASON_LINES = 6  # of one failure
_INDENT = "  "
_LEAST_NAME = 20  # columns; rather than less, something else is left out


@dataclass(frozen=True)
class Moment:
    """A grid as it stands at one moment, and for how long it has run."""

    view: GridView
    news: DriverNews
    now: float  # seconds since the epoch
    left_s: float | None = None  # about so long to its end; None where that is not known


@dataclass(frozen=True)
class Section:
    """Rows under a title; each row may be of several lines."""

    title: str
    status: Status
    rows: Sequence[Sequence[str]]
    heading: Sequence[str] = ()  # lines above the rows, where they are columns

    @property
    def lines(self) -> int:
        """How many lines all of it takes."""
        return 1 + len(self.heading) + sum(map(len, self.rows))

    @property
    def least(self) -> int:
        """How many lines its title, its first row, and the number of the others take."""
        return 1 + len(self.heading) + len(self.rows[0]) + (len(self.rows) > 1)


def screen(moment: Moment, metrics: Sequence[str], width: int, height: int) -> list[Text]:
    """Return at most ``height`` lines of at most ``width`` columns; no number is cut.

    ``metrics``: those of the cells that are done, the first of which they are sorted by.
    """
    head = _head(moment, width)
    sections = [section for section in _sections(moment, metrics, width) if section.rows]
    room = _shared(sections, height - len(head))
    spare = height - len(head) - sum(room) >= len(sections)
    lines = head[:height]
    for section, lines_of_it in zip(sections, room, strict=True):
        if lines_of_it and spare:
            lines.append(Text(""))
        lines += _fitted(section, lines_of_it, width)
    return lines[:height]


def _head(moment: Moment, width: int) -> list[Text]:
    """The totals, the times, and what ails the driver."""
    view = moment.view
    parts = ", ".join(f"{number} {status}" for status, number in counts(view).items())
    lines = [Text(line, "bold") for line in wrapped(f"{view.name}: {_cells(view)}: {parts}", width)]
    lines += [Text(line) for line in wrapped(times(moment), width) if line]
    for notice in view.notices:
        lines += [Text(line, "yellow") for line in wrapped(redact(notice), width, _NOTICE_LINES)]
    return lines


def _cells(view: GridView) -> str:
    return f"{len(view.cells)} cell{'' if len(view.cells) == 1 else 's'}"


def times(moment: Moment) -> str:
    """Return ``12 min 30 s gone, about 4 min left``, as far as that is known."""
    said = []
    if moment.news.began:
        said.append(f"{duration(moment.now - moment.news.began)} gone")
    if moment.left_s is not None:
        said.append(f"about {duration(moment.left_s)} left")
    return ", ".join(said)


def _sections(moment: Moment, metrics: Sequence[str], width: int) -> tuple[Section, ...]:
    view = moment.view
    runs = running(view, moment.news, moment.now)
    failures, waits = failed(view), waiting(view)
    heading, done = done_rows(view, metrics, width - len(_INDENT))
    return (
        Section(
            f"running: {len(runs)} stage{'' if len(runs) == 1 else 's'}",
            Status.RUNNING,
            running_rows(runs, width - len(_INDENT)),
        ),
        Section(
            "failed",
            Status.FAILED,
            [_failure(group, width - len(_INDENT)) for group in failures],
        ),
        Section(
            "waiting",
            Status.WAITING,
            [_waiting(group, width - len(_INDENT)) for group in waits],
        ),
        Section("done", Status.DONE, [(row,) for row in done], heading),
    )


def running_rows(runs: Sequence[Running], width: int) -> list[tuple[str, ...]]:
    """Return a row for each stage: name, stage, how far it is, and, with room, since when, where.

    Where not even how far it is fits beside a name, or shortened names would read alike, that is a
    second line.
    """
    if not runs:
        return []
    columns = [
        [run.stage for run in runs],
        [run.progress for run in runs],
        ["" if run.seconds is None else duration(run.seconds) for run in runs],
        [run.where for run in runs],
    ]
    names = [run.name for run in runs]
    name = max(map(len, names))
    kept = next(
        (kept for kept in ((0, 1, 2, 3), (0, 1, 3), (0, 1)) if _left(columns, kept, width) >= name),
        (0, 1, 3) if _left(columns, (0, 1, 3), width) >= _LEAST_NAME else (0, 1),
    )
    left = min(name, _left(columns, kept, width))
    if left < min(name, _LEAST_NAME) or alike(names, left):
        return [_two_lines(run, width) for run in runs]
    return [
        (_row(shortened(name, left), left, [columns[each] for each in kept], number),)
        for number, name in enumerate(names)
    ]


def _left(columns: Sequence[Sequence[str]], kept: Sequence[int], width: int) -> int:
    """The columns of a terminal that are left to names beside these."""
    widths = [max(map(len, columns[each])) for each in kept]
    return width - sum(each + len(_INDENT) for each in widths if each)


def _row(name: str, width: int, columns: Sequence[Sequence[str]], number: int) -> str:
    cells = [name.ljust(width)]
    for column in columns:
        if size := max(map(len, column)):
            cells.append(column[number].ljust(size))
    return _INDENT.join(cells).rstrip()


def _two_lines(run: Running, width: int) -> tuple[str, ...]:
    name = shortened(run.name, width - len(run.stage) - len(_INDENT))
    return f"{name}{_INDENT}{run.stage}", *_indented(run.progress, width)


def _failure(group: Group, width: int) -> tuple[str, ...]:
    """Return who failed in which stage, and why, with the cure that the reason ends with."""
    subject = shortened(group.subject, width - len(group.stage) - 4)
    reason = wrapped(redact(group.what), width - len(_INDENT), _REASON_LINES)
    return f"{subject} in {group.stage}", *(f"{_INDENT}{line}" for line in reason if line)


def _waiting(group: Group, width: int) -> tuple[str, ...]:
    number = len(group.names)
    who = group.names[0] if number == 1 else f"{number} cells"
    what = redact(group.what) or "not begun"
    line = f"{group.stage}: {what}"
    if len(who) + 2 + len(line) > width:
        who = shortened(who, max(_LEAST_NAME, width // 2))
    first, *rest = wrapped(f"{who}, {line}", width - len(_INDENT), 2)
    return first, *(f"{_INDENT}{each}" for each in rest)


def _indented(text: str, width: int) -> tuple[str, ...]:
    return tuple(f"{_INDENT}{line}" for line in wrapped(text, width - len(_INDENT)) if line)


def _shared(sections: Sequence[Section], height: int) -> list[int]:
    """Return how many lines each section gets: the least for each, and the rest in their order.

    Where there is not even that, the last ones get what is left, or nothing.
    """
    room, left = [], height
    for section in sections:
        room.append(min(section.least, left) if left > 1 else 0)
        left -= room[-1]
    for number, section in enumerate(sections):
        more = min(section.lines - room[number], left) if room[number] else 0
        room[number] += more
        left -= more
    return room


def _fitted(section: Section, height: int, width: int) -> list[Text]:
    """Return the section in so many lines: its first rows, and how many more there are."""
    if not height:
        return []
    style = STYLES[section.status]
    lines = [Text(section.title, f"bold {style}")]
    if section.heading and height >= section.least:
        lines += [Text(_INDENT + line, "dim") for line in section.heading]
    shown = 0
    for row in section.rows:
        last = shown == len(section.rows) - 1
        if len(lines) + len(row) > height - (not last):
            break
        lines += [Text(_INDENT + line) for line in row]
        shown += 1
    if not shown:  # not even the first is whole: as much of it as there is room for
        row = section.rows[0]
        lines += [Text(_INDENT + line) for line in row[: height - len(lines)]]
        shown = 1
    if (more := len(section.rows) - shown) and len(lines) < height:
        lines.append(Text(f"{_INDENT}and {more} more", "dim"))
    return lines
