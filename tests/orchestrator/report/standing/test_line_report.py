"""What a job's log is told while a grid runs: each thing once, in plain lines."""

import io
from dataclasses import replace

from rich.console import Console

from orchestrator.coordination.news import DriverNews, Work
from orchestrator.report.standing.line_report import LineReport, headline
from orchestrator.report.standing.live_report import LiveReport, make_report
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator import sample_views
from tests.orchestrator.report.standing.clock import Clock


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
    assert printed(console) == [
        f"[       2 s] {name}: transfer",
        f"[ 1 min 5 s] {name}: done ",
    ]


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
    assert [line.partition("] ")[2] for line in printed(console)] == [
        "node 10.0.0.4 is avoided: 3 stages failed there"
    ]


def test_a_headline_is_the_main_scores() -> None:
    assert headline(sample_views.dense_view()) == "wiki 27.56, c4 39.42, accuracy 0.451"
    assert headline(sample_views.dense_view(Status.WAITING)) == ""


def test_it_is_said_now_and_then_for_what_a_grid_waits_of_which_nothing_runs() -> None:
    console, clock = plain(), Clock()
    report = LineReport(console, clock)
    stands = grid([Status.WAITING], "waits for 8 GPUs")
    report.show(stands)
    for clock.now in (0, 59, 61, 62, 1900):
        report.tick(DriverNews())
    assert printed(console) == [
        "[ 1 min 1 s] nothing runs: waits for 8 GPUs",
        "[31 min 40 s] nothing runs: waits for 8 GPUs",
    ]


def test_a_grid_of_which_something_runs_does_not_stand_still() -> None:
    console, clock = plain(), Clock()
    report = LineReport(console, clock)
    for clock.now in (0, 100, 200):
        report.show(grid([Status.WAITING, Status.RUNNING], ""))
        report.tick(DriverNews())
    report.show(grid([Status.WAITING, Status.WAITING], "waits for 1 GPU"))
    report.tick(DriverNews())
    assert not [line for line in printed(console) if "nothing runs" in line]


def test_a_ranking_deeper_than_the_grid_needs_it_is_told_as_deep_as_needed() -> None:
    console = plain()
    ranking = sample_views.ranking_view("gates", 1e-3, 4, Status.DONE, ())
    shallow = replace(ranking, depth=2)
    LineReport(console, Clock()).show(GridView("grid-1", "sample", (), (shallow,), ()))
    assert printed(console)[0].endswith("2 of 2 layers ranked: 7, 3")


def test_once_a_minute_without_a_line_one_says_how_far_what_runs_is() -> None:
    console, clock = plain(), Clock()
    report = LineReport(console, clock, wall=lambda: 1000.0 + clock.now)
    ranking = sample_views.ranking_view("gates", 1e-3, 0, Status.RUNNING, ())
    report.show(replace(grid([Status.WAITING]), rankings=(ranking,)))
    work = Work(1000.0, "round 1 of 4, step 12 of 20, loss 2.713", "10.0.0.3")
    for clock.now in (1, 59, 61, 62, 119, 122):
        report.tick(DriverNews(working={ranking.key: work}))
    heartbeat = (
        "0 of 1 cells done; running: gates l1=1e-3 (10.0.0.3) rank: "
        "round 1 of 4, step 12 of 20, loss 2.713"
    )
    assert printed(console) == [f"[ 1 min 1 s] {heartbeat}", f"[ 2 min 2 s] {heartbeat}"]
