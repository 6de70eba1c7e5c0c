"""What a person sees of a grid: a live table on a terminal, plain lines elsewhere. Knows views only."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from orchestrator.report.tables import status_table
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.grid_view import CellView, DenseView, GridView, Status

MAX_ROWS = 40


class Report(Protocol):
    """Told every view; says what is new."""

    def __enter__(self) -> "Report": ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, view: GridView) -> None: ...


def make_report(console: Console, metrics: Sequence[str]) -> Report:
    return LiveReport(console, metrics) if console.is_terminal else LineReport(console)


class LineReport:
    """A line for everything that starts, ends or fails. ``clock`` in seconds."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._begun = clock()
        self._known: dict[str, tuple[Status, str]] = {}
        self._rounds: Counter[str] = Counter()
        self._notes: dict[str, str] = {}
        self._left = TimeLeft(clock)

    def __enter__(self) -> "LineReport":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, view: GridView) -> None:
        for rank in view.rankings:
            if len(rank.rounds) > self._rounds[rank.key]:
                self._rounds[rank.key] = len(rank.rounds)
                layers = ", ".join(str(layer) for layer in rank.order)
                self._say(
                    f"{rank.name}: {len(rank.rounds)} of {rank.depth} layers ranked: {layers}"
                )
            self._remark(rank.name, rank.status, rank.reason)
        left = self._left.text(view)
        for part in view.parts:
            name, now = part_name(part), (part.status, part_stage(part))
            if part_stage(part) != StageKind.RANKING:  # its ranking has said so
                self._remark(
                    f"{name}: {part_stage(part) or 'reference scores'}", part.status, part.reason
                )
            before = self._known.get(name)
            self._known[name] = now
            if now != before and (before is not None or part.status is not Status.WAITING):
                self._tell(part, name, left)

    def _remark(self, name: str, status: Status, reason: str) -> None:
        """What is out of the ordinary about something that runs, once: a gang, another attempt and why."""
        now = reason if status is Status.RUNNING else ""
        if now and now != self._notes.get(name):
            self._say(f"{name}: {now}")
        self._notes[name] = now

    def _tell(self, part: CellView | DenseView, name: str, left: str) -> None:
        if part.status is Status.DONE:
            self._say(f"{name}: done {headline(part)}{left}")
        elif part.status is Status.RUNNING:
            self._say(f"{name}: {part_stage(part) or 'reference scores'}")
        elif part.status in (Status.FAILED, Status.KILLED):
            self._say(
                f"{name}: {part.status} in {part_stage(part) or 'reference scores'}: {part.reason}"
            )

    def _say(self, line: str) -> None:
        self._console.print(
            f"[{self._clock() - self._begun:6.0f} s] {line}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


class LiveReport:
    """One table that is redrawn in place."""

    def __init__(self, console: Console, metrics: Sequence[str]) -> None:
        self._metrics = metrics
        self._live = Live(console=console, refresh_per_second=2, transient=True)
        self._left = TimeLeft(time.monotonic)

    def __enter__(self) -> "LiveReport":
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, view: GridView) -> None:
        self._live.update(
            Group(
                status_table(view, self._metrics, limit=MAX_ROWS),
                Text(summary(view) + self._left.text(view)),
            )
        )


class TimeLeft:
    """An estimate: the mean seconds of what is left to do, at the pace at which this driver has worked so far.

    The pace is seconds of stages done per second gone by, so it knows of parallel stages and of their start-up. Silent
    until every kind of stage that is known to be left has been seen once.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun: float | None = None
        self._before: set[str] = set()

    def text(self, view: GridView) -> str:
        done = {
            cell.stage_keys[kind]: (kind, seconds)
            for cell in view.cells
            for kind, seconds in cell.seconds.items()
        }
        done |= {
            f"{rank.key} {record.round}": (rank.key, record.seconds)
            for rank in view.rankings
            for record in rank.rounds
        }
        if self._begun is None:
            self._begun, self._before = self._clock(), set(done)
        worked = sum(seconds for key, (_, seconds) in done.items() if key not in self._before)
        means = {
            kind: _mean(seconds for other, seconds in done.values() if other == kind)
            for kind, _ in done.values()
        }
        left = list(_left(view))
        if not worked or not left or not means.keys() >= set(left):
            return ""
        left_s = sum(means[kind] for kind in left) * (self._clock() - self._begun) / worked
        return (
            f", about {left_s / 60:.0f} min left"
            if left_s >= 90
            else f", about {left_s:.0f} s left"
        )


def _left(view: GridView) -> Iterator[str]:
    """Kinds of stages not done, each stage once; a ranking's rounds under its key."""
    for rank in view.rankings:
        if rank.status in (Status.WAITING, Status.RUNNING):
            yield from [rank.key] * (rank.depth - len(rank.rounds))
    cells = [cell for cell in view.cells if cell.status in (Status.WAITING, Status.RUNNING)]
    known = {
        key: kind
        for cell in cells
        for kind, key in cell.stage_keys.items()
        if kind not in cell.seconds and cell.layers
    }
    yield from (kind for kind in known.values() if kind != StageKind.RANKING)
    for cell in cells:
        if cell.layers is None:  # what it will share is not known yet
            yield from (StageKind.PRUNE, StageKind.EVALUATE)
            if cell.cell.transfer.name != "none":
                yield StageKind.TRANSFER


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def part_name(part: CellView | DenseView) -> str:
    return part.cell.name if isinstance(part, CellView) else f"{part.model.name} dense"


def part_stage(part: CellView | DenseView) -> str:
    return part.stage if isinstance(part, CellView) else ""


def headline(part: CellView | DenseView) -> str:
    """The first scores, short: ``wiki 31.2, c4 60.1, accuracy 0.41``."""
    if part.evaluation is None:
        return ""
    scores = part.evaluation.scores
    names = [name for name in scores if name.startswith("perplexity/")] + [
        n for n in ("accuracy",) if n in scores
    ]
    return ", ".join(
        f"{name.removeprefix('perplexity/')} {scores[name].value:.4g}" for name in names
    )


def summary(view: GridView) -> str:
    """``demo: 12 cells: 3 done, 2 running, 7 waiting``."""
    counts = Counter(cell.status for cell in view.cells)
    parts = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
    return f"{view.name}: {len(view.cells)} cells: {parts}"
