"""The screen that is redrawn while a grid runs."""

import io
from dataclasses import replace

from rich.console import Console

from orchestrator.coordination.news import DriverNews, Work
from orchestrator.report.standing.live_report import REDRAW_S, LiveReport
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator import sample_views
from tests.orchestrator.report.standing.clock import Clock


def terminal() -> Console:
    return Console(
        file=io.StringIO(), width=80, height=24, force_terminal=True, force_interactive=True
    )


def drawn(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_look_at_the_clock_redraws_how_far_what_runs_is() -> None:
    console, clock = terminal(), Clock()
    ranking = sample_views.ranking_view("gates", 1e-3, 1, Status.RUNNING, ())
    view = GridView("grid-1", "sample", (), (ranking,), ())
    with LiveReport(console, [], clock, wall=lambda: 1000.0 + clock.now) as report:
        report.show(view)
        for step in (1, 2):
            clock.now += REDRAW_S
            work = Work(1000.0, f"round 2 of 4, step {step} of 20")
            report.tick(DriverNews(1000.0, {ranking.key: work}))
    assert "round 2 of 4, step 1 of 20" in drawn(console)
    assert "round 2 of 4, step 2 of 20" in drawn(console)


def test_between_two_redraws_nothing_is_drawn() -> None:
    console, clock = terminal(), Clock()
    view = GridView("grid-1", "sample", (), (), ())
    with LiveReport(console, [], clock) as report:
        report.show(view)
        report.tick(DriverNews())
        before = drawn(console)
        clock.now += REDRAW_S / 2
        report.tick(DriverNews())
        assert drawn(console) == before


def test_a_new_view_is_drawn_at_once() -> None:
    console, clock = terminal(), Clock()
    view = GridView("grid-1", "sample", (), (), ())
    with LiveReport(console, [], clock) as report:
        report.show(view)
        report.tick(DriverNews())
        report.show(replace(view, behind="behind since 12:03:04: timed out"))
        report.tick(DriverNews())
    assert "behind since 12:03:04: timed out" in drawn(console)
