"""``trsp status`` as it is printed: few cells one by one, many in groups."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.report.standing.status_tables import (
    FEW_CELLS,
    GROUPED_LINES,
    print_failures,
    print_status,
)
from orchestrator.views.grid_view import Status
from tests.orchestrator import sample_views as sample
from tests.orchestrator.report.standing.test_screen import METRICS, large_grid

MANY = FEW_CELLS // 6 + 1  # copies of the sample's six cells


def printed(folder: Path, copies: int, width: int, *, every_cell: bool = False) -> list[str]:
    out = Console(file=io.StringIO(), width=width)
    moment = large_grid(folder, copies)
    print_status(moment.view, METRICS, out, moment.news, every_cell=every_cell)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 160])
def test_many_cells_are_counted_first_and_grouped(width: int, tmp_path: Path) -> None:
    lines = printed(tmp_path, 35, width)
    assert lines[0].endswith(": running, 70 of 210 cells done")
    assert lines[1] == "sample: 210 cells: 35 waiting, 70 running, 70 done, 35 failed"
    assert len(lines) <= GROUPED_LINES + 2
    assert max(map(len, lines)) <= width
    assert lines[-1] == "--all shows every cell"


def test_every_cell_is_shown_where_that_is_asked_for(tmp_path: Path) -> None:
    text = "\n".join(printed(tmp_path, MANY, 240, every_cell=True))
    assert all(cell.cell.name in text for cell in large_grid(tmp_path, MANY).view.cells)


def test_few_cells_are_a_table_of_all(tmp_path: Path) -> None:
    text = "\n".join(printed(tmp_path, 1, 240))
    assert "removed layers" in text
    assert all(cell.name in text for cell in sample.cells())


def test_on_a_narrow_terminal_few_cells_are_told_without_a_table(tmp_path: Path) -> None:
    lines = printed(tmp_path, 1, 80)
    assert max(map(len, lines)) <= 80
    assert "--all" not in lines[-1]
    assert any(line == "failed" for line in lines)


def failures(folder: Path, out: Console) -> list[str]:
    """The printed failures of three cells in one stage, for one reason; the first has a log."""
    cells = [
        replace(cell, stage_keys={"evaluate": f"evaluate-{number}"})
        for number, cell in enumerate(large_grid(folder, 3).view.cells)
        if cell.status is Status.FAILED
    ]
    first = cells[0].stage_keys["evaluate"]
    print_failures(cells, {first: "/store/stages/evaluate/evaluate-4"}, out)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


def test_in_a_log_equal_failures_are_one_line(tmp_path: Path) -> None:
    (line,) = failures(tmp_path, Console(file=io.StringIO(), width=80))
    assert line.startswith("failed: ")
    assert " and 2 more in evaluate: InvalidInputError" in line
    assert line.endswith("; its log is in /store/stages/evaluate/evaluate-4")


def test_on_a_terminal_failures_are_wrapped_between_words(tmp_path: Path) -> None:
    out = Console(file=io.StringIO(), width=80, force_terminal=True, no_color=True)
    lines = failures(tmp_path, out)
    assert len(lines) > 3
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "its log is in /store/stages/evaluate/evaluate-4"
