"""The view of a grid, from what the store holds and what a driver does."""

from dataclasses import replace
from pathlib import Path

from orchestrator.execution.run_stage import StageTask
from orchestrator.layouts.layout import Layout
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    dense_spec,
    evaluate_spec,
    prune_spec,
    ranking_spec,
)
from orchestrator.store.failures import Failure
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from orchestrator.views.build import Activity
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import finish, resolved, store_of
from tests.orchestrator.fresh_view import view_of
from tests.orchestrator.store.sample_stage import files_uri, unclaimed

SCORES = {"scores": {"perplexity/wiki": {"value": 20.0}}}
SIZE = {
    "removed_layers": [],
    "layers": 10,
    "params": 1,
    "size_bytes": 4,
    "kv_bytes_per_token": 1,
}
RECORDS = {
    StageKind.EVALUATE: {**SCORES, "seconds": 1.0},
    StageKind.DENSE: {"checkpoint": SIZE, "evaluation": SCORES, "seconds": 1.0},
}


def run(store: Store, spec: StageSpec) -> None:
    finish(StageTask(spec, store.uri, Layout()))


def test_an_empty_store_is_a_grid_that_waits(tmp_path: Path) -> None:
    grid = resolved(tmp_path)
    view = view_of(grid)
    assert {part.status for part in (*view.parts, *view.rankings)} == {Status.WAITING}
    assert view.status is Status.WAITING
    assert {cell.reason for cell in view.cells} == {
        "0 of 2 layers ranked",
        "0 of 5 layers ranked",
    }
    assert (view.key, view.name, view.settings["name"]) == (grid.key, "g", "g")
    assert all(
        cell.layers is None and cell.checkpoint_uri is None and cell.metrics() == {}
        for cell in view.cells
    )


def test_the_activity_of_a_driver_is_in_the_view(tmp_path: Path) -> None:
    grid = resolved(tmp_path, ratios=[0.2])
    keys = [ranking_spec(cell, grid.study).key for cell in grid.cells]
    results = StoreResults(store_of(grid))
    view = view_of(
        grid,
        results,
        Activity(
            running={keys[0]: StageKind.RANKING},
            waits={keys[1]: "waits for a free slot"},
            live=True,
        ),
    )
    assert [(cell.status, cell.reason) for cell in view.cells] == [
        (Status.RUNNING, "0 of 2 layers ranked"),
        (Status.WAITING, "waits for a free slot"),
    ]
    assert [ranking.status for ranking in view.rankings] == [Status.RUNNING, Status.WAITING]
    view = view_of(grid, results, Activity(given_up={keys[1]: "MemoryError: 12 GB"}, live=True))
    assert (view.cells[1].status, view.cells[1].reason) == (Status.FAILED, "MemoryError: 12 GB")


def test_a_ranking_that_other_grids_made_deeper_is_shown_as_deep_as_this_grid_needs_it(
    tmp_path: Path,
) -> None:
    grid = resolved(tmp_path, ratios=[0.2], gate_l1=1e-3)
    spec = ranking_spec(grid.cells[0], grid.study)
    run(store_of(grid), replace(spec, depth=4))
    (ranking,) = view_of(grid).rankings
    assert (ranking.depth, len(ranking.rounds)) == (2, 2)


def test_an_old_failure_counts_only_where_nobody_is_at_work(tmp_path: Path) -> None:
    grid = resolved(tmp_path, ratios=[0.2], gate_l1=1e-3)
    store = store_of(grid)
    key = ranking_spec(grid.cells[0], grid.study).key
    store.failures.record(key, Failure("MemoryError", "first"))
    store.failures.record(key, Failure("MemoryError", "second"))
    (cell,) = view_of(grid).cells
    assert (cell.status, cell.stage, cell.reason) == (Status.FAILED, "rank", "MemoryError: second")
    (cell,) = view_of(grid, StoreResults(store), Activity(live=True)).cells
    assert cell.status is Status.WAITING


def test_a_lost_checkpoint_makes_a_finished_cell_unfinished(tmp_path: Path) -> None:
    grid = resolved(tmp_path, ratios=[0.2], gate_l1=1e-3)
    store = store_of(grid)
    cell = grid.cells[0]
    run(store, replace(ranking_spec(cell, grid.study), depth=2))
    results = StoreResults(store)
    layers = results.order(ranking_spec(cell, grid.study).key)
    run(store, prune_spec(cell, grid.study, layers))
    (view,) = view_of(grid, results).cells
    assert (view.stage, view.checkpoint_uri) == (
        "evaluate",
        files_uri(store, prune_spec(cell, grid.study, layers).key),
    )
    store.stages.drop_files(prune_spec(cell, grid.study, layers).key)
    (view,) = view_of(grid).cells
    assert (view.stage, view.checkpoint_uri) == ("transfer", None)


def test_a_cell_and_its_reference_know_what_their_scores_were_computed_with(tmp_path: Path) -> None:
    grid = resolved(tmp_path, ratios=[0.2], gate_l1=1e-3)
    store = store_of(grid)
    cell, model = grid.cells[0], next(iter(grid.models.values()))
    run(store, ranking_spec(cell, grid.study))
    layers = tuple(store.rankings.rounds(ranking_spec(cell, grid.study).key))
    chosen = tuple(record.layer for record in layers)[: cell.removed]
    for spec in (evaluate_spec(cell, grid.study, chosen), dense_spec(model, grid.study)):
        ticket = unclaimed(spec.key)
        store.stages.commit(ticket, spec, RECORDS[spec.kind], versions={"torch": "2.9"})
    view = view_of(grid)
    assert view.cells[0].versions == {"evaluate": {"torch": "2.9"}}
    assert view.dense[0].versions["evaluate"] == {"torch": "2.9"}
