"""What is remembered of a store, what is asked again, and when."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.execution.run_stage import StageTask
from orchestrator.layouts.layout import Layout
from orchestrator.stages.stage_specs import StageKind, StageSpec, prune_spec, ranking_spec
from orchestrator.store.failures import Failure
from orchestrator.store.files import StoreFiles
from orchestrator.store.results import StoreResults
from orchestrator.store.stage_results import StageResults
from orchestrator.store.store import Store
from orchestrator.views.build import Activity, build_view
from orchestrator.views.grid_view import Status
from tests.orchestrator.fake_launcher import finish, resolved
from trsp.records import RoundRecord

SPEC = StageSpec(StageKind.PRUNE, {"layers": [1]})


class CountingStages(StageResults):
    """Stage results which notes the keys that were asked for."""

    def __init__(self, files: StoreFiles) -> None:
        super().__init__(files)
        self.asked: list[str] = []

    def result(self, key: str) -> dict[str, object] | None:
        self.asked.append(key)
        return super().result(key)


class CountingStore(Store):
    """A store whose stage results note the keys that were asked for."""

    stages: CountingStages

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.stages = CountingStages(self.files)


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(str(tmp_path / "store"))


def run(store: Store, spec: StageSpec) -> None:
    finish(StageTask(spec, store.uri, Layout()))


def test_an_absence_is_believed_for_a_while_and_a_presence_for_ever(store: CountingStore) -> None:
    now = [0.0]
    results = StoreResults(store, recheck_s=10, clock=lambda: now[0])
    assert not results.done(SPEC.key)
    run(store, SPEC)
    now[0] = 9
    assert not results.done(SPEC.key)
    now[0] = 10
    assert results.done(SPEC.key)
    asked = len(store.stages.asked)
    now[0] = 1000
    assert results.done(SPEC.key)
    assert len(store.stages.asked) == asked


def test_what_is_forgotten_is_asked_again_at_once(store: CountingStore) -> None:
    results = StoreResults(store, recheck_s=1000)
    assert not results.done(SPEC.key)
    run(store, SPEC)
    results.forget(SPEC.key)
    assert results.done(SPEC.key)
    assert results.checkpoint_uri(SPEC.key) == store.stages.files_uri(SPEC.key)
    store.stages.drop_files(SPEC.key)
    results.forget(SPEC.key)
    assert not results.done(SPEC.key)
    assert results.checkpoint_uri(SPEC.key) is None
    assert results.record(SPEC.key) is not None


def test_rounds_are_added_to_those_known(store: CountingStore) -> None:
    results, key = StoreResults(store, recheck_s=0), "rank-1"
    for number, layer in enumerate((7, 3)):
        store.rankings.publish(key, RoundRecord(round=number, layer=layer))
        assert len(results.order(key)) == number + 1
    assert results.order(key) == (7, 3)
    assert not results.done(key)


def test_an_empty_store_is_a_grid_that_waits(tmp_path: Path) -> None:
    asked = resolved(tmp_path)
    view = build_view(asked, StoreResults(Store(asked.grid.storage.store)))
    assert {part.status for part in (*view.parts, *view.rankings)} == {Status.WAITING}
    assert view.status is Status.WAITING
    assert {cell.reason for cell in view.cells} == {"round 0 of 2", "round 0 of 5"}
    assert (view.key, view.name, view.settings["name"]) == (asked.key, "g", "g")
    assert all(
        cell.layers is None and cell.checkpoint_uri is None and cell.metrics() == {}
        for cell in view.cells
    )


def test_the_activity_of_a_driver_is_in_the_view(tmp_path: Path) -> None:
    asked = resolved(tmp_path, ratios=[0.2])
    keys = [ranking_spec(cell, asked.study).key for cell in asked.cells]
    results = StoreResults(Store(asked.grid.storage.store))
    view = build_view(
        asked,
        results,
        Activity(
            running={keys[0]: StageKind.RANKING},
            waits={keys[1]: "waits for a free slot"},
            live=True,
        ),
    )
    assert [(cell.status, cell.reason) for cell in view.cells] == [
        (Status.RUNNING, "round 0 of 2"),
        (Status.WAITING, "waits for a free slot"),
    ]
    assert [rank.status for rank in view.rankings] == [Status.RUNNING, Status.WAITING]
    view = build_view(asked, results, Activity(given_up={keys[1]: "MemoryError: 12 GB"}, live=True))
    assert (view.cells[1].status, view.cells[1].reason) == (Status.FAILED, "MemoryError: 12 GB")


def test_an_old_failure_counts_only_where_nobody_is_at_work(tmp_path: Path) -> None:
    asked = resolved(tmp_path, ratios=[0.2], gate_l1=1e-3)
    store = Store(asked.grid.storage.store)
    key = ranking_spec(asked.cells[0], asked.study).key
    store.failures.record(key, Failure("MemoryError", "first"))
    store.failures.record(key, Failure("MemoryError", "second"))
    (cell,) = build_view(asked, StoreResults(store)).cells
    assert (cell.status, cell.stage, cell.reason) == (Status.FAILED, "rank", "MemoryError: second")
    (cell,) = build_view(asked, StoreResults(store), Activity(live=True)).cells
    assert cell.status is Status.WAITING


def test_a_lost_checkpoint_makes_a_finished_cell_unfinished(tmp_path: Path) -> None:
    asked = resolved(tmp_path, ratios=[0.2], gate_l1=1e-3)
    store = Store(asked.grid.storage.store)
    cell = asked.cells[0]
    run(store, replace(ranking_spec(cell, asked.study), depth=2))
    results = StoreResults(store, recheck_s=0)
    layers = results.order(ranking_spec(cell, asked.study).key)
    run(store, prune_spec(cell, asked.study, layers))
    (view,) = build_view(asked, results).cells
    assert (view.stage, view.checkpoint_uri) == (
        "evaluate",
        store.stages.files_uri(prune_spec(cell, asked.study, layers).key),
    )
    store.stages.drop_files(prune_spec(cell, asked.study, layers).key)
    (view,) = build_view(asked, StoreResults(store)).cells
    assert (view.stage, view.checkpoint_uri) == ("transfer", None)
