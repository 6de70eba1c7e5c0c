"""What is made anew when something changes equals what is made from scratch, and little is."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.execution.run_stage import StageTask
from orchestrator.stages.next_stages import next_stages
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from orchestrator.views.build import Activity, ViewBuilder
from orchestrator.views.grid_view import CellView, GridView
from orchestrator.views.parts import GridParts
from tests.orchestrator.fake_launcher import finish, resolved, store_of
from tests.orchestrator.fresh_view import view_of
from tests.orchestrator.store.sample_stage import ticket_of

EVENTS = 25


def parts_of(grid: Resolved) -> GridParts:
    parts = GridParts(grid, StoreResults(store_of(grid)))
    parts.update()
    return parts


def run(store: Store, spec: StageSpec) -> None:
    ticket = ticket_of(store, spec.key)
    finish(StageTask(spec, store.uri, attempt=ticket.attempt, claim=ticket.number))
    store.claims.release(ticket)


def random_event(chance: random.Random, parts: GridParts, store: Store) -> None:
    """Something happens to a stage in the store, and whoever knows of it says so."""
    stages = [key for part in (*parts.dense, *parts.cells) for key in part.keys]
    key = chance.choice(stages)
    match chance.choice(("run", "run", "rank", "delete", "drop", "listed", "nothing")):
        case "run" if parts.needs:
            spec = chance.choice(parts.needs)
            run(store, spec)
            parts.results.forget(spec.key)
        case "rank":
            rankings = [spec for spec in parts.needs if spec.kind is StageKind.RANKING]
            for spec in rankings[:1]:
                known = len(parts.results.rounds(spec.key))
                run(store, replace(spec, depth=min(known + 1, spec.depth)))
                parts.results.look_at_rankings([spec.key])
        case "delete":
            store.stages.remove(key)
            parts.results.forget(key)
        case "drop" if key.startswith("transfer"):
            store.stages.drop_files(key)
            parts.results.forget(key)
        case "listed":
            new = [spec for spec in parts.needs if not Path(store.stages.uri(spec.key)).exists()]
            for spec in new[:1]:
                run(store, spec)
            parts.results.look_for_new_stages()
        case _:
            parts.results.forget(key)


def random_activity(chance: random.Random, parts: GridParts) -> Activity:
    keys = [spec.key for spec in parts.needs]
    running = {spec.key: spec.kind for spec in parts.needs if chance.random() < 0.3}
    return Activity(
        running=running,
        waits={key: "waits for 1 CPU" for key in keys if chance.random() < 0.5},
        given_up={key: "KeyError: 'x'" for key in keys if chance.random() < 0.1},
        notes={key: "again after a failure" for key in running if chance.random() < 0.5},
        live=True,
    )


@pytest.mark.parametrize("seed", range(10))
def test_after_random_events_all_is_as_from_scratch(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    grid = resolved(tmp_path)
    parts, store = parts_of(grid), store_of(grid)
    views = ViewBuilder(parts)
    for _ in range(EVENTS):
        random_event(chance, parts, store)
        parts.update()
        activity = random_activity(chance, parts)
        fresh = StoreResults(store)
        assert views.view(activity) == view_of(grid, fresh, activity)
        assert list(parts.needs) == list(next_stages(grid, fresh))


def test_a_view_in_which_nothing_changed_is_the_same_object(tmp_path: Path) -> None:
    grid = resolved(tmp_path)
    parts = parts_of(grid)
    views, activity = ViewBuilder(parts), Activity(live=True)
    before, needs = views.view(activity), parts.needs
    parts.results.forget(grid.cells[0].key)  # which is no stage of this grid
    parts.update()
    assert views.view(replace(activity)) is before
    assert parts.needs is needs


def test_only_what_rests_on_the_stage_that_ended_is_another_object(tmp_path: Path) -> None:
    grid = resolved(tmp_path)
    parts, store = parts_of(grid), store_of(grid)
    views = ViewBuilder(parts)
    before = views.view(Activity(live=True))
    ranking = next(spec for spec in parts.needs if spec.kind is StageKind.RANKING)
    run(store, ranking)
    parts.results.forget(ranking.key)
    parts.update()
    after = views.view(Activity(live=True))
    changed = [cell.cell.gate_l1 for cell in changed_cells(before, after)]
    assert changed == [cell.cell.gate_l1 for cell in after.cells if cell.ranking_key == ranking.key]
    assert after.dense is before.dense


def changed_cells(before: GridView, after: GridView) -> list[CellView]:
    pairs = zip(before.cells, after.cells, strict=True)
    return [new for old, new in pairs if new is not old]


def test_what_a_driver_waits_for_changes_the_view_of_that_part_alone(tmp_path: Path) -> None:
    grid = resolved(tmp_path)
    parts = parts_of(grid)
    views = ViewBuilder(parts)
    before = views.view(Activity(live=True))
    key = parts.cells[0].view.ranking_key
    after = views.view(Activity(waits={key: "waits for 1 CPU"}, live=True))
    assert {cell.ranking_key for cell in changed_cells(before, after)} == {key}
    assert {cell.reason for cell in changed_cells(before, after)} == {"waits for 1 CPU"}
