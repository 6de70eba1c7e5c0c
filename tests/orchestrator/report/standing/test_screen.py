"""A grid on one screen: it fits, what matters is there, and every number is whole."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.coordination.news import DriverNews, Work
from orchestrator.report.standing.rows import Running
from orchestrator.report.standing.screen import Moment, running_rows, screen
from orchestrator.views.grid_view import CellView, GridView, Status
from tests.orchestrator import sample_views as sample

METRICS = ("perplexity/wiki", "perplexity/c4", "accuracy")
SIZES = [(80, 24), (160, 50), (40, 10), (200, 12)]
REASON = (
    "InvalidInputError: text 'wiki' in /data/wiki-20231101/validation-0001.jsonl has 12 windows of "
    "2048 tokens, and 64 are asked for; lower evaluation.perplexity[0].max_windows to 12"
)
NOW = 10_000.0


def running(cell: CellView, number: int) -> CellView:
    """The cell in its stage two, whose key is of this number."""
    keys = {**cell.stage_keys, "transfer": f"transfer-{number}"}
    return replace(cell, status=Status.RUNNING, stage="transfer", reason="", stage_keys=keys)


def large_grid(store: Path, copies: int) -> Moment:
    """Copies of the sample's six cells: two are done, two run, one failed and one waits of each."""
    cells: list[CellView] = []
    work: dict[str, Work] = {}
    for copy in range(copies):
        every = [replace(cell, name=f"{cell.name} seed={copy}") for cell in sample.cells()]
        third, fourth, fifth, sixth = map(sample.waiting, every[2:])
        cells += [sample.done(cell, store) for cell in every[:2]]
        for number, cell in enumerate((third, fourth), start=2 * copy):
            cells.append(running(cell, number))
            work[f"transfer-{number}"] = Work(
                NOW - 75 - number, f"step {1000 + number} of 2048, loss 2.713", f"10.0.0.{number}"
            )
        cells.append(replace(fifth, status=Status.FAILED, stage="evaluate", reason=REASON))
        cells.append(replace(sixth, reason="waits for 8 GPUs of 80 GB"))
    view = sample.grid_view(tuple(cells), 2)
    return Moment(view, DriverNews(NOW - 754, work), NOW, left_s=250)


def shown(moment: Moment, width: int, height: int, metrics: Sequence[str] = METRICS) -> list[str]:
    return [line.plain for line in screen(moment, metrics, width, height)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("copies", [1, 35])
def test_it_fits_the_terminal(width: int, height: int, copies: int, tmp_path: Path) -> None:
    lines = shown(large_grid(tmp_path, copies), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("copies", [1, 35])
def test_every_number_is_whole(width: int, height: int, copies: int, tmp_path: Path) -> None:
    moment = large_grid(tmp_path, copies)
    whole = " ".join(shown(moment, 1000, 10_000))
    counted = re.compile(r"and \d+ more")
    numbers = set(re.findall(r"\d[\d.,]*", whole))
    for line in shown(moment, width, height):
        found = set(re.findall(r"\d[\d.,]*", counted.sub("", line)))
        assert found <= numbers, line


@pytest.mark.parametrize("width", range(30, 90))
def test_what_waits_for_a_long_reason_fits_too(width: int) -> None:
    reason = "is being started: takes 1 CPU, 0.7 GB of memory; again after " + REASON
    cell = replace(sample.waiting(sample.cells()[0]), reason=reason)
    view = GridView("grid-1", "sample", (cell,), (), ())
    assert max(map(len, shown(Moment(view, DriverNews(), NOW), width, 24))) <= width


def test_totals_and_times_come_first(tmp_path: Path) -> None:
    lines = shown(large_grid(tmp_path, 35), 80, 24)
    assert lines[0] == "sample: 210 cells: 35 waiting, 70 running, 70 done, 35 failed"
    assert lines[1] == "12 min 34 s gone, about 4 min 10 s left"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 50)])
def test_each_section_of_a_large_grid_is_there(width: int, height: int, tmp_path: Path) -> None:
    text = "\n".join(shown(large_grid(tmp_path, 35), width, height))
    for title in ("running: 70 stages", "failed", "waiting", "done"):
        assert f"\n{title}\n" in text
    assert "step 1000 of 2048, loss 2.713" in text
    assert "InvalidInputError: text 'wiki'" in text
    assert "35 cells, rank: waits for 8 GPUs of 80 GB" in text


def test_a_failure_is_shown_with_its_cure_once_for_all_that_it_stopped(tmp_path: Path) -> None:
    text = " ".join(" ".join(shown(large_grid(tmp_path, 35), 160, 50)).split())
    assert text.count("InvalidInputError") == 1
    assert "and 34 more in evaluate" in text
    assert "lower evaluation.perplexity[0].max_windows to 12" in text


def test_where_a_stage_runs_is_shown_where_there_is_room(tmp_path: Path) -> None:
    moment = large_grid(tmp_path, 1)
    assert "10.0.0.1" in "\n".join(shown(moment, 160, 50))


def test_the_best_of_what_is_done_is_first(tmp_path: Path) -> None:
    lines = shown(large_grid(tmp_path, 3), 160, 50)
    start = next(number for number, line in enumerate(lines) if line.startswith("done"))
    heading, dense, *rows = lines[start + 1 :]
    column = heading.index("wiki") + len("wiki")
    values = [float(row[:column].split()[-1]) for row in rows]
    assert "dense" in dense
    assert values == sorted(values)


def test_a_column_of_which_nothing_is_known_is_left_out(tmp_path: Path) -> None:
    cell = replace(sample.done(sample.cells()[0], tmp_path), measurement=None)
    view = replace(sample.grid_view((cell,), 4), dense=())
    assert "latency" not in "\n".join(shown(Moment(view, DriverNews(), NOW), 160, 50))


def test_without_news_what_runs_is_what_the_store_says() -> None:
    ranking = sample.ranking_view("gates", 1e-3, 2, Status.RUNNING, ())
    view = GridView("grid-1", "sample", (), (ranking,), ())
    assert shown(Moment(view, DriverNews(), NOW), 80, 24)[-2:] == [
        "running: 1 stage",
        f"  {ranking.name}  rank  2 of 4 layers ranked",
    ]


def test_a_ranking_deeper_in_the_store_is_as_deep_as_this_grid_needs_it() -> None:
    ranking = replace(sample.ranking_view("gates", 1e-3, 4, Status.RUNNING, ()), depth=3)
    view = GridView("grid-1", "sample", (), (ranking,), ())
    assert "3 of 3 layers ranked" in shown(Moment(view, DriverNews(), NOW), 80, 24)[-1]


def test_what_ails_the_driver_is_shown_in_two_lines_at_most() -> None:
    behind = "behind since 12:03:04: the store gives no answer " + "(timed out) " * 20
    view = GridView("grid-1", "sample", (), (), (), behind=behind)
    lines = shown(Moment(view, DriverNews(), NOW), 80, 24)
    assert lines[1].startswith("behind since 12:03:04")
    assert lines[2].endswith("…")
    assert len(lines) == 3


def test_credentials_are_hidden() -> None:
    reason = "TrackingError: postgresql://me:sesame@db/mlflow gives no answer"
    cell = replace(sample.waiting(sample.cells()[0]), status=Status.FAILED, reason=reason)
    view = GridView("grid-1", "sample", (cell,), (), ())
    assert "sesame" not in "\n".join(shown(Moment(view, DriverNews(), NOW), 160, 50))


def test_names_that_would_read_alike_are_shown_whole_in_lines_of_their_own() -> None:
    runs = [
        Running(
            f"1/6 gates l1={rate} heal(learning_rate=0.001)", "transfer", "step 3 of 60, loss 3"
        )
        for rate in ("1e-3", "5e-3")
    ]
    assert running_rows(runs, 70) == [
        (f"{run.name}  transfer", "  step 3 of 60, loss 3") for run in runs
    ]


def test_names_that_differ_where_they_are_shortened_share_their_lines() -> None:
    runs = [
        Running(f"{ratio} gates l1=1e-3 heal(learning_rate=0.001)", "transfer", "step 3 of 60")
        for ratio in ("1/6", "1/3")
    ]
    assert running_rows(runs, 61) == [
        (f"{ratio} gates … heal(learning_rate=0.001)  transfer  step 3 of 60",)
        for ratio in ("1/6", "1/3")
    ]
