"""What a person is told while a grid runs: each thing once, in plain lines or in one table."""

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from orchestrator.report.live import LineReport, LiveReport, headline, make_report, summary
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator import sample_views
from tests.orchestrator.report.clock import Clock


def plain() -> Console:
    return Console(file=io.StringIO(), width=60, force_terminal=False)


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def grid(statuses: list[Status], reason: str = "") -> GridView:
    """The sample's cells, in the given states; nothing else."""
    cells = [sample_views.waiting(cell) for cell in sample_views.cells()]
    views = []
    for cell, status in zip(cells, statuses, strict=False):
        stage = "" if status is Status.DONE else "transfer"
        views.append(replace(cell, status=status, reason=reason, stage=stage))
    return GridView("grid-1", "sample", tuple(views), (), ())


def test_no_terminal_no_table() -> None:
    assert isinstance(make_report(plain(), []), LineReport)
    assert isinstance(make_report(Console(file=io.StringIO(), force_terminal=True), []), LiveReport)


def test_a_line_for_each_change_and_none_for_the_rest() -> None:
    console, clock = plain(), Clock()
    report = LineReport(console, clock)
    name = grid([Status.WAITING]).cells[0].cell.name
    for status, when in (
        (Status.WAITING, 1),
        (Status.RUNNING, 2),
        (Status.RUNNING, 3),
        (Status.DONE, 65),
    ):
        clock.now = when
        report.show(grid([status]))
    assert printed(console) == [f"[     2 s] {name}: transfer", f"[    65 s] {name}: done "]


def test_what_is_done_already_is_said_once() -> None:
    console = plain()
    report = LineReport(console, Clock())
    for _ in range(3):
        report.show(grid([Status.DONE, Status.WAITING]))
    assert len(printed(console)) == 1


def test_a_failure_says_where_and_why_however_long_and_with_brackets() -> None:
    console = plain()
    reason = "InvalidInputError: [bold] " + "long " * 40
    LineReport(console, Clock()).show(grid([Status.FAILED, Status.KILLED], reason))
    failed, killed = printed(console)
    assert f"failed in transfer: {reason}" in failed
    assert f"killed in transfer: {reason}" in killed


def test_a_ranking_is_told_round_by_round() -> None:
    console = plain()
    report = LineReport(console, Clock())
    for rounds in (0, 1, 1, 3):
        ranking = sample_views.ranking_view("gates", 1e-3, rounds, Status.RUNNING, ())
        report.show(GridView("grid-1", "sample", (), (ranking,), ()))
    first, second = printed(console)
    assert first.endswith("gates l1=1e-3: 1 of 4 layers ranked: 7")
    assert second.endswith("3 of 4 layers ranked: 7, 3, 8")


def test_the_reference_is_told_too() -> None:
    console = plain()
    report = LineReport(console, Clock())
    for status in (Status.RUNNING, Status.DONE):
        report.show(GridView("grid-1", "sample", (), (), (sample_views.dense_view(status),)))
    running, done = printed(console)
    assert running.endswith("Tiny-1.5M dense: reference scores")
    assert done.endswith("Tiny-1.5M dense: done wiki 27.56, c4 39.42, accuracy 0.451")


def test_a_store_that_is_away_is_told_once_and_that_it_is_back() -> None:
    console = plain()
    report = LineReport(console, Clock())
    view = grid([Status.RUNNING])
    behind = "behind since 12:03:04: the store gives no answer (timed out); what runs goes on"
    for said in ("", behind, behind, "", ""):
        report.show(replace(view, behind=said))
    _, away, back = printed(console)
    assert away.endswith(behind)
    assert back.endswith("the store answers again")


def test_a_node_that_is_avoided_is_told_once() -> None:
    console = plain()
    report = LineReport(console, Clock())
    view = grid([Status.WAITING])
    for avoided in ((), ("node 10.0.0.4 is avoided: 3 stages failed there",), ()):
        report.show(replace(view, avoided=avoided))
    assert [line[11:] for line in printed(console)] == [
        "node 10.0.0.4 is avoided: 3 stages failed there"
    ]


def test_headline_and_summary() -> None:
    assert headline(sample_views.dense_view()) == "wiki 27.56, c4 39.42, accuracy 0.451"
    assert headline(sample_views.dense_view(Status.WAITING)) == ""
    view = grid([Status.DONE, Status.RUNNING, Status.WAITING, Status.WAITING])
    assert summary(view) == "sample: 4 cells: 2 waiting, 1 running, 1 done"


def test_the_live_table_holds_every_cell_and_the_summary(tmp_path: Path) -> None:
    console = Console(
        file=io.StringIO(), width=200, height=60, force_terminal=True, force_interactive=True
    )
    view = grid([Status.DONE, Status.RUNNING, Status.WAITING])
    with LiveReport(console, ["perplexity/wiki"]) as report:
        report.show(replace(view, behind="behind since 12:03:04: timed out"))
        report._live.refresh()
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(cell.cell.name in text for cell in view.cells)
    assert summary(view) in text
    assert "behind since 12:03:04: timed out" in text


def test_it_is_said_now_and_then_for_what_a_grid_waits_of_which_nothing_runs() -> None:
    console, clock = plain(), Clock()
    report = LineReport(console, clock)
    stands = grid([Status.WAITING], "waits for 8 GPUs")
    report.show(stands)
    for clock.now in (0, 59, 61, 62, 1900):
        report.tick()
    assert printed(console) == [
        "[    61 s] nothing runs: waits for 8 GPUs",
        "[  1900 s] nothing runs: waits for 8 GPUs",
    ]


def test_a_grid_of_which_something_runs_does_not_stand_still() -> None:
    console, clock = plain(), Clock()
    report = LineReport(console, clock)
    for clock.now in (0, 100, 200):
        report.show(grid([Status.WAITING, Status.RUNNING], ""))
        report.tick()
    report.show(grid([Status.WAITING, Status.WAITING], "waits for 1 GPU"))
    report.tick()
    assert not [line for line in printed(console) if "nothing runs" in line]
