"""When a cell's own work began and ended, by what its stages left."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.execution.run_stage import StageTask
from orchestrator.layouts.layout import Layout
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, cell_stages, ranking_spec
from orchestrator.stages.timings import StageTimings
from orchestrator.store.results import StoreResults
from orchestrator.views.grid_view import CellView
from tests.orchestrator.fake_launcher import finish, record_of, resolved, store_of
from tests.orchestrator.fresh_view import view_of
from tests.orchestrator.store.sample_stage import unclaimed


@pytest.fixture
def grid(tmp_path: Path) -> Resolved:
    """A grid of one cell, whose ranking is there."""
    made = resolved(tmp_path, ratios=[0.2], gate_l1=1e-3)
    spec = replace(ranking_spec(made.cells[0], made.study), depth=2)
    finish(StageTask(spec, store_of(made).uri, Layout()))
    return made


def cell_after(grid: Resolved, times: dict[StageKind, tuple[float, float] | None]) -> CellView:
    """The cell when these stages are done, which began and ended then; None: nobody knows when."""
    store, cell = store_of(grid), grid.cells[0]
    order = StoreResults(store).order(ranking_spec(cell, grid.study).key)
    for spec in cell_stages(cell, grid.study, order):
        if spec.kind in times:
            known = times[spec.kind]
            clock = None if known is None else (lambda at=known: StageTimings(at[0], *at))
            task = StageTask(spec, store.uri, Layout())
            store.stages.commit(unclaimed(spec.key), spec, record_of(task), times=clock)
    return view_of(grid).cells[0]


def test_a_cell_begins_with_the_first_of_its_stages_and_ends_with_the_last(grid: Resolved) -> None:
    cell = cell_after(
        grid,
        {
            StageKind.TRANSFER: (100.0, 160.0),
            StageKind.PRUNE: (161.0, 165.0),
            StageKind.EVALUATE: (170.0, 200.0),
        },
    )
    assert (cell.began, cell.ended) == (100.0, 200.0)


def test_a_speed_that_was_measured_for_another_cell_does_not_begin_this_one(grid: Resolved) -> None:
    cell = cell_after(grid, {StageKind.PRUNE: (161.0, 165.0), StageKind.MEASURE: (5.0, 9.0)})
    assert (cell.began, cell.ended) == (161.0, 165.0)


def test_a_cell_whose_stages_left_no_times_has_none(grid: Resolved) -> None:
    cell = cell_after(grid, {StageKind.PRUNE: None})
    assert (cell.began, cell.ended) == (None, None)


def test_a_cell_that_has_only_its_ranking_has_not_begun(grid: Resolved) -> None:
    assert (view_of(grid).cells[0].began, view_of(grid).cells[0].ended) == (None, None)
