"""All that a grid's report says, as plain data, and pictures still to be drawn."""

from collections import Counter
from dataclasses import dataclass
from typing import cast

from orchestrator.pictures.album import Picture, gate_pictures, grid_pictures
from orchestrator.redact import redact
from orchestrator.report.page.answer import Answer, answer
from orchestrator.report.page.cell_table import cell_table, dense_table
from orchestrator.report.page.history import Failure, cost_table, failures, ranking_table
from orchestrator.report.page.origins import grid_file, origin_table
from orchestrator.report.page.tables import PageTable
from orchestrator.views.answers import answers, with_reaches
from orchestrator.views.grid_view import GridView, Status
from trsp.config import Precision

MOST_GATE_PICTURES = 12


@dataclass(frozen=True)
class Contents:
    """What the report of a grid says. Of texts that could hold them, credentials are hidden."""

    name: str
    key: str
    status: Status
    progress: str
    remarks: tuple[str, ...]  # why the grid is where it is, and what ails its driver
    answers: tuple[Answer, ...]
    dense: PageTable
    cells: PageTable
    pictures: tuple[Picture, ...]
    rankings: PageTable
    gate_pictures: tuple[Picture, ...]
    undrawn: int  # rankings that have gates but no picture here
    failures: tuple[Failure, ...]
    costs: PageTable
    origins: PageTable
    grid_file: str


def contents(view: GridView) -> Contents:
    """Return the report of a grid as it stands in this view."""
    precision = cast(Precision, view.settings.get("precision", "auto"))
    choices = tuple(with_reaches(choice, view, precision) for choice in answers(view))
    gates = tuple(gate_pictures(view))
    return Contents(
        name=view.name,
        key=view.key,
        status=view.status,
        progress=_progress(view),
        remarks=tuple(redact(each) for each in (view.reason, *view.notices) if each),
        answers=tuple(answer(view, choice) for choice in choices),
        dense=dense_table(view),
        cells=cell_table(view, choices),
        pictures=tuple(grid_pictures(view, view.metrics, view.budgets)),
        rankings=ranking_table(view),
        gate_pictures=gates[:MOST_GATE_PICTURES],
        undrawn=max(0, len(gates) - MOST_GATE_PICTURES),
        failures=failures(view),
        costs=cost_table(view),
        origins=origin_table(view),
        grid_file=grid_file(view),
    )


def _progress(view: GridView) -> str:
    """Return ``12 of 14 cells done, 1 failed, 1 waiting``."""
    counts = Counter(cell.status for cell in view.cells)
    others = [f"{counts[each]} {each}" for each in Status if counts[each] and each != Status.DONE]
    return ", ".join([f"{counts[Status.DONE]} of {len(view.cells)} cells done", *others])
