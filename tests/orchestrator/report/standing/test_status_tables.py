"""``trsp status`` as it is printed: few cells one by one, many in groups."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.report.standing.status_tables import FEW_CELLS, GROUPED_LINES, print_status
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
    assert lines[-1] == "every cell: trsp status --all"


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
    assert "every cell" not in lines[-1]
    assert any(line.startswith("failed: 1") for line in lines)
