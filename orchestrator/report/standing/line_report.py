"""What a pipe or a job's log is told of a grid that runs: a line for each thing that happens.

Where nothing happens for a minute, one line says how far all is. Knows views only.
"""

import time
from collections import Counter
from collections.abc import Callable

from rich.console import Console

from orchestrator.coordination.news import DriverNews
from orchestrator.redact import redact
from orchestrator.report.standing.fitting import duration
from orchestrator.report.standing.rows import (
    REFERENCE,
    Running,
    counts,
    layers_ranked,
    part_name,
    part_stage,
    running,
)
from orchestrator.report.standing.time_left import TimeLeft
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView, Status

HEARTBEAT_S = 60.0  # after so long without a line, one says how far all is
STANDSTILL_S = 60.0  # after so long it is said for what all of a grid waits,
SAY_AGAIN_S = 1800.0  # and so often again
_MOST_RUNNING = 4  # that a heartbeat names


class LineReport:
    """Prints a line for everything that starts, ends or fails. ``clock`` gives seconds."""

    def __init__(
        self,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``wall`` gives seconds since the epoch, as drivers tell them."""
        self._console = console
        self._clock, self._wall = clock, wall
        self._begun = self._printed = clock()
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
        left_s = self._time_left.seconds(view)
        for part in view.parts:
            self._show_part(part, _about(left_s))
        self._waits = standstill(view)

    def tick(self, news: DriverNews) -> None:
        """Print how far all is, or for what it waits, where nothing was printed for a while."""
        now = self._clock()
        if self._waits:
            if now >= self._say_at:
                self._say_at = now + SAY_AGAIN_S
                self._print(f"nothing runs: {self._waits}")
            return
        self._say_at = now + STANDSTILL_S
        if self._last is not None and news.working and now >= self._printed + HEARTBEAT_S:
            self._print(self._heartbeat(self._last, news))

    def _heartbeat(self, view: GridView, news: DriverNews) -> str:
        """Return what runs and how far it is, and how many cells are done."""
        runs = running(view, news, self._wall())
        named = "; ".join(_in_words(run) for run in runs[:_MOST_RUNNING])
        more = f"; and {len(runs) - _MOST_RUNNING} more" if len(runs) > _MOST_RUNNING else ""
        done = counts(view).get(Status.DONE, 0)
        left = _about(self._time_left.seconds(view))
        return f"{done} of {len(view.cells)} cells done{left}; running: {named}{more}"

    def _show_notices(self, view: GridView) -> None:
        """Print what ails the driver when it begins, and that the store answers again."""
        before, self._last = self._last, view
        for notice in view.notices:
            if before is None or notice not in before.notices:
                self._print(notice)
        if before is not None and before.behind and not view.behind:
            self._print("the store answers again")

    def _show_ranking(self, ranking: RankingView) -> None:
        if ranking.ranked > self._rounds[ranking.key]:
            self._rounds[ranking.key] = ranking.ranked
            layers = ", ".join(str(layer) for layer in ranking.order[: ranking.ranked])
            self._print(f"{ranking.name}: {layers_ranked(ranking)}: {layers}")
        self._remark(ranking.name, ranking.status, ranking.reason)

    def _show_part(self, part: CellView | DenseView, time_left: str) -> None:
        name, stage = part_name(part), part_stage(part)
        if stage != StageKind.RANKING:  # its ranking has said so
            self._remark(f"{name}: {stage or REFERENCE}", part.status, part.reason)
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
        name, stage = part_name(part), part_stage(part) or REFERENCE
        if part.status is Status.DONE:
            self._print(f"{name}: done {headline(part)}{time_left}")
        elif part.status is Status.RUNNING:
            self._print(f"{name}: {stage}")
        elif part.status in (Status.FAILED, Status.KILLED):
            self._print(f"{name}: {part.status} in {stage}: {part.reason}")

    def _print(self, line: str) -> None:
        self._printed = self._clock()
        self._console.print(
            f"[{duration(self._printed - self._begun):>10}] {redact(line)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _about(left_s: float | None) -> str:
    return "" if left_s is None else f", about {duration(left_s)} left"


def _in_words(run: Running) -> str:
    where = f" ({run.where})" if run.where else ""
    progress = f": {run.progress}" if run.progress else ""
    return f"{run.name}{where} {run.stage}{progress}"


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
