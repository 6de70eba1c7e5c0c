"""``trsp status`` by its command line: once, with every cell, or for as long as a grid runs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import watching
from orchestrator.cli import main
from orchestrator.coordination.news import DriverNews, Work
from orchestrator.views.grid_view import GridView, Status
from orchestrator.watching import Seen
from tests.orchestrator import sample_views as sample
from tests.orchestrator.looked_at import looks_at
from tests.orchestrator.sample_grids import grid_file


def call(*arguments: object) -> int:
    """Call the command line and return its exit code."""
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    return int(exited.value.code or 0)


class Looks:
    """A watch that sees these one after another; at an interrupt, Ctrl-C is typed."""

    def __init__(self, *moments: Seen | KeyboardInterrupt) -> None:
        self._moments: Iterator[Seen | KeyboardInterrupt] = iter(moments)

    def look(self) -> Seen:
        moment = next(self._moments)
        if isinstance(moment, KeyboardInterrupt):
            raise moment
        return moment


def at_step(step: int) -> Seen:
    """The sample with a ranking that runs, and no cell that is done."""
    view = sample.grid_view(tuple(map(sample.waiting, sample.cells())), 1)
    view = replace(view, dense=())
    work = Work(0.0, f"round 2 of 4, step {step} of 20")
    return Seen(view, DriverNews(1.0, {view.rankings[0].key: work}), driven=True)


def watches(monkeypatch: pytest.MonkeyPatch, *moments: Seen | KeyboardInterrupt) -> None:
    looks_at(monkeypatch, lambda grid: at_step(1).view)
    monkeypatch.setattr(watching, "GridWatch", lambda resolved: Looks(*moments))


def test_watching_ends_with_the_grid_and_prints_how_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [replace(cell, seconds={}) for cell in sample.finished(tmp_path).cells]
    cells[0] = replace(cells[0], status=Status.FAILED, stage="evaluate", reason="no such text")
    view = sample.grid_view(tuple(cells), 4, Status.RUNNING)
    watches(monkeypatch, at_step(1), Seen(view, DriverNews(), driven=True))
    assert call("status", "--watch", "--every", 0.5, grid_file(tmp_path)) == 0
    assert "failed, 5 of 6 cells done" in capsys.readouterr().out


def test_ctrl_c_ends_the_watching_and_prints_what_was_seen_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watches(monkeypatch, at_step(1), KeyboardInterrupt())
    assert call("status", "--watch", "--every", 0.5, grid_file(tmp_path)) == 0
    assert "0 of 6 cells done" in capsys.readouterr().out


def test_every_cell_is_printed_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = tuple(
        replace(
            sample.waiting(replace(cell, name=f"{cell.name} seed={seed}")), status=Status.WAITING
        )
        for seed in range(10)
        for cell in sample.cells()
    )
    looks_at(monkeypatch, lambda grid: GridView("grid-1", "sample", cells, (), ()))
    assert call("status", grid_file(tmp_path)) == 0
    assert "--all shows every cell" in capsys.readouterr().out
    assert call("status", "--all", grid_file(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert all(f"seed={seed}" in printed for seed in range(1, 10))
