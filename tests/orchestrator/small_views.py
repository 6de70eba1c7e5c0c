"""A grid of two cells at the moments of its life: little to write, where that takes time."""

from dataclasses import replace
from pathlib import Path

from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator import sample_views as sample


def small_story(store: Path) -> tuple[GridView, ...]:
    """The moments: both wait; the first runs; it is done and the second runs; both are done.

    Nothing is drawn for it, for its rankings have no rounds.
    """
    cells = sample.cells()[:2]
    waits = [sample.waiting(cell) for cell in cells]
    runs = [
        replace(
            view, status=Status.RUNNING, stage="transfer", layers=sample.ORDER[: view.cell.removed]
        )
        for view in waits
    ]
    ends = [sample.done(cell, store) for cell in cells]
    moments = ((waits[0], waits[1]), (runs[0], waits[1]), (ends[0], runs[1]))
    last = sample.grid_view((ends[0], ends[1]), 0, Status.DONE)
    ranked = tuple(replace(ranking, status=Status.DONE) for ranking in last.rankings)
    return (*(sample.grid_view(moment, 0) for moment in moments), replace(last, rankings=ranked))
