"""The screen of a grid that runs, redrawn in place, for as long as somebody watches it."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live

from orchestrator.coordination.news import DriverNews
from orchestrator.report.standing.line_report import LineReport
from orchestrator.report.standing.screen import Moment, screen
from orchestrator.report.standing.time_left import TimeLeft
from orchestrator.views.grid_view import GridView

REDRAW_S = 0.5


class Report(Protocol):
    """One who is told every new view, and at every step what the driver does."""

    def __enter__(self) -> "Report": ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, view: GridView) -> None: ...

    def tick(self, news: DriverNews) -> None: ...


def make_report(console: Console, metrics: Sequence[str]) -> Report:
    """Return a screen with these metrics on a terminal, and lines elsewhere."""
    return LiveReport(console, metrics) if console.is_terminal else LineReport(console)


class LiveReport:
    """Keeps one screen on the terminal, as large as that is, redrawn in place.

    ``clock`` gives seconds, ``wall`` those since the epoch.
    """

    def __init__(
        self,
        console: Console,
        metrics: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._console, self._metrics = console, metrics
        self._clock, self._wall = clock, wall
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._time_left = TimeLeft(clock)
        self._view: GridView | None = None
        self._left: tuple[float, float | None] = (0.0, None)  # when it was estimated, and the rest
        self._drawn = float("-inf")

    def __enter__(self) -> "LiveReport":
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, view: GridView) -> None:
        """Draw this view from now on."""
        self._view = view
        self._left = self._clock(), self._time_left.seconds(view)
        self._drawn = float("-inf")

    def tick(self, news: DriverNews) -> None:
        """Draw the screen, with what the driver does now."""
        now = self._clock()
        if self._view is None or now - self._drawn < REDRAW_S:
            return
        self._drawn = now
        when, left_s = self._left
        if left_s is not None:
            left_s = max(0.0, left_s - (now - when))
        moment = Moment(self._view, news, self._wall(), left_s)
        width, height = self._console.size
        lines = screen(moment, self._metrics, width, height - 1)  # the cursor has a line, too
        self._live.update(Group(*lines), refresh=True)
