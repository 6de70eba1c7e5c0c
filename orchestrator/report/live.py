"""What a person sees of a running grid: a live table on a terminal, plain lines elsewhere.

Knows views only.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from orchestrator.redact import redact
from orchestrator.report.status_tables import status_table
from orchestrator.report.time_left import TimeLeft
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView, Status

MAX_ROWS = 40
STANDSTILL_S = 60.0  # after so long it is said for what all of a grid waits,
SAY_AGAIN_S = 1800.0  # and so often again
_REFERENCE = "reference scores"  # what an unpruned model is worked on for


class Report(Protocol):
    """One who is told every new view and says what is new in it.

    ``tick`` is called at every step, however little is new.
    """

    def __enter__(self) -> "Report": ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, view: GridView) -> None: ...

    def tick(self) -> None: ...


def make_report(console: Console, metrics: Sequence[str]) -> Report:
    """Return a live table with these metrics on a terminal, and lines elsewhere."""
    return LiveReport(console, metrics) if console.is_terminal else LineReport(console)


class LineReport:
    """Prints a line for everything that starts, ends or fails. ``clock`` gives seconds."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._begun = clock()
        self._known: dict[str, tuple[Status, str]] = {}  # status and stage of a part, by its name
        self._rounds: Counter[str] = Counter()  # rounds told of a ranking, by its key
        self._remarks: dict[str, str] = {}
        self._last: GridView | None = None
        self._waits = ""  # for what, where nothing runs
        self._say_at = self._begun + STANDSTILL_S
        self._time_left = TimeLeft(clock)

    def __enter__(self) -> "LineReport":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, view: GridView) -> None:
        """Print what has changed since the view before."""
        self._show_notices(view)
        for ranking in view.rankings:
            self._show_ranking(ranking)
        time_left = self._time_left.text(view)
        for part in view.parts:
            self._show_part(part, time_left)
        self._waits = standstill(view)

    def tick(self) -> None:
        """Print for what the grid of the last view waits, where nothing has run for a while."""
        if not self._waits:
            self._say_at = self._clock() + STANDSTILL_S
        elif self._clock() >= self._say_at:
            self._say_at = self._clock() + SAY_AGAIN_S
            self._print(f"nothing runs: {self._waits}")

    def _show_notices(self, view: GridView) -> None:
        """Print what ails the driver when it begins, and that the store answers again."""
        before, self._last = self._last, view
        for notice in view.notices:
            if before is None or notice not in before.notices:
                self._print(notice)
        if before is not None and before.behind and not view.behind:
            self._print("the store answers again")

    def _show_ranking(self, ranking: RankingView) -> None:
        rounds = len(ranking.rounds)
        if rounds > self._rounds[ranking.key]:
            self._rounds[ranking.key] = rounds
            layers = ", ".join(str(layer) for layer in ranking.order)
            self._print(f"{ranking.name}: {rounds} of {ranking.depth} layers ranked: {layers}")
        self._remark(ranking.name, ranking.status, ranking.reason)

    def _show_part(self, part: CellView | DenseView, time_left: str) -> None:
        name, stage = part_name(part), part_stage(part)
        if stage != StageKind.RANKING:  # its ranking has said so
            self._remark(f"{name}: {stage or _REFERENCE}", part.status, part.reason)
        before = self._known.get(name)
        self._known[name] = (part.status, stage)
        first_and_waiting = before is None and part.status is Status.WAITING
        if self._known[name] != before and not first_and_waiting:
            self._print_status(part, time_left)

    def _remark(self, name: str, status: Status, reason: str) -> None:
        """Print once what is unusual about something that runs: a gang, another attempt and why."""
        remark = reason if status is Status.RUNNING else ""
        if remark and remark != self._remarks.get(name):
            self._print(f"{name}: {remark}")
        self._remarks[name] = remark

    def _print_status(self, part: CellView | DenseView, time_left: str) -> None:
        name, stage = part_name(part), part_stage(part) or _REFERENCE
        if part.status is Status.DONE:
            self._print(f"{name}: done {headline(part)}{time_left}")
        elif part.status is Status.RUNNING:
            self._print(f"{name}: {stage}")
        elif part.status in (Status.FAILED, Status.KILLED):
            self._print(f"{name}: {part.status} in {stage}: {part.reason}")

    def _print(self, line: str) -> None:
        self._console.print(
            f"[{self._clock() - self._begun:6.0f} s] {redact(line)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


class LiveReport:
    """Keeps one table on the terminal, redrawn in place."""

    def __init__(self, console: Console, metrics: Sequence[str]) -> None:
        self._metrics = metrics
        self._live = Live(console=console, refresh_per_second=2, transient=True)
        self._time_left = TimeLeft(time.monotonic)

    def __enter__(self) -> "LiveReport":
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, view: GridView) -> None:
        """Redraw the table from this view."""
        table = status_table(view, self._metrics, limit=MAX_ROWS)
        lines = [summary(view) + self._time_left.text(view), *map(redact, view.notices)]
        self._live.update(Group(table, *map(Text, lines)))

    def tick(self) -> None:
        """Nothing to do: the table says what waits and for what."""


def standstill(view: GridView) -> str:
    """Return for what a grid waits of which nothing runs; "" where something does, or none waits.

    It is what most of its parts wait for.
    """
    parts = [*view.rankings, *view.parts]
    if any(part.status is Status.RUNNING for part in parts):
        return ""
    reasons = Counter(part.reason for part in parts if part.status is Status.WAITING)
    del reasons[""]
    return reasons.most_common(1)[0][0] if reasons else ""


def part_name(part: CellView | DenseView) -> str:
    """Return the name of a cell, or of an unpruned model as ``NAME dense``."""
    return part.cell.name if isinstance(part, CellView) else f"{part.model.name} dense"


def part_stage(part: CellView | DenseView) -> str:
    """Return the kind of stage that a cell is in; empty for an unpruned model."""
    return part.stage if isinstance(part, CellView) else ""


def headline(part: CellView | DenseView) -> str:
    """Return the main scores, ``wiki 31.2, c4 60.1, accuracy 0.41``; empty without scores."""
    if part.evaluation is None:
        return ""
    scores = part.evaluation.scores
    names = [name for name in scores if name.startswith("perplexity/")]
    if "accuracy" in scores:
        names.append("accuracy")
    shown = [f"{name.removeprefix('perplexity/')} {scores[name].value:.4g}" for name in names]
    return ", ".join(shown)


def summary(view: GridView) -> str:
    """Return the cells counted by status: ``demo: 12 cells: 3 done, 2 running, 7 waiting``."""
    counts = Counter(cell.status for cell in view.cells)
    parts = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
    return f"{view.name}: {len(view.cells)} cells: {parts}"
