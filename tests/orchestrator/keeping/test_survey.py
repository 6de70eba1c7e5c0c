"""What of a store nobody needs: every case in which something stays, and why."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.coordination.process import ProcessIdentity
from orchestrator.keeping.decide import Action
from orchestrator.keeping.needs import stages_of
from orchestrator.keeping.survey import Asked, Survey
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from tests.orchestrator.fake_launcher import one_cell, store_of
from tests.orchestrator.keeping.made_up import DAY_S, age, keep, looked, made, two_made
from trsp.errors import InvalidInputError

HERE = ProcessIdentity.here()


@pytest.fixture
def both(tmp_path: Path, empty_database: Path) -> tuple[Resolved, Resolved]:
    """A grid that is no longer kept, and one that is, in one store."""
    return two_made(tmp_path, empty_database)


def gone_keys(found: Survey) -> set[str]:
    return {each.key for each in found.decision.of(Action.RESULT)}


def keys_of(grid: Resolved, *kinds: StageKind) -> set[str]:
    found = stages_of(grid, StoreResults(store_of(grid)))
    return {key for key, spec in found.items() if spec.kind in kinds}


def mark(folder: Path, key: str, **said: str) -> None:
    """Register a checkpoint, and let an alias mark it."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/mlflow.db")
    client.create_registered_model("m")
    version = client.create_model_version("m", said.get("source", "/x"), tags={"trsp.content": key})
    client.set_registered_model_alias("m", "best", version.version)


def test_results_that_no_kept_grid_asks_for_are_not_needed(
    both: tuple[Resolved, Resolved],
) -> None:
    gone, kept = both
    kinds = (StageKind.RANKING, StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE)
    assert gone_keys(looked(kept)) == keys_of(gone, *kinds) - keys_of(kept, *kinds)


def test_what_an_alias_marks_stays(both: tuple[Resolved, Resolved], tmp_path: Path) -> None:
    (key,) = keys_of(both[0], StageKind.PRUNE)
    mark(tmp_path, key)
    assert key not in gone_keys(looked(both[1]))


def test_what_an_alias_of_somebody_elses_version_marks_stays(
    both: tuple[Resolved, Resolved], tmp_path: Path
) -> None:
    (key,) = keys_of(both[0], StageKind.PRUNE)
    mark(tmp_path, "", source=f"{tmp_path}/store/stages/prune/{key}/files-1")
    assert key not in gone_keys(looked(both[1]))


def test_checkpoints_stay_where_the_registry_gives_no_answer(
    both: tuple[Resolved, Resolved], tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").unlink()
    found = looked(both[1])
    assert not gone_keys(found) & keys_of(both[0], StageKind.PRUNE)
    assert found.decision.kept_unmarked == 1
    assert "there is no such database here" in " ".join(found.notes)
    assert not (tmp_path / "mlflow.db").exists()


def test_scores_go_where_the_registry_gives_no_answer(
    both: tuple[Resolved, Resolved], tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").unlink()
    assert keys_of(both[0], StageKind.EVALUATE) <= gone_keys(looked(both[1]))


def test_the_registry_may_be_named_where_a_grids_own_is_gone(
    both: tuple[Resolved, Resolved], tmp_path: Path, empty_database: Path
) -> None:
    (tmp_path / "mlflow.db").unlink()
    asked = Asked(tracking=(f"sqlite:///{empty_database}",))
    assert keys_of(both[0], StageKind.PRUNE) <= gone_keys(looked(both[1], asked))


def test_nothing_of_the_last_hour_goes(both: tuple[Resolved, Resolved]) -> None:
    age(store_of(both[1]), 3500)
    found = looked(both[1])
    assert not found.decision.removals
    assert found.decision.kept_young == 4


def test_what_is_younger_than_asked_for_stays(both: tuple[Resolved, Resolved]) -> None:
    assert not looked(both[1], Asked(older_than_s=2 * DAY_S)).decision.removals


def test_what_a_living_driver_holds_stays(both: tuple[Resolved, Resolved]) -> None:
    (key,) = keys_of(both[0], StageKind.PRUNE)
    store_of(both[0]).claims.drivers.say("other", HERE, [key], grid=both[1].key)
    assert key not in gone_keys(looked(both[1]))


def test_no_result_goes_while_a_driver_works_on_a_grid_that_is_not_kept(
    both: tuple[Resolved, Resolved],
) -> None:
    store_of(both[0]).claims.drivers.say("other", HERE, grid=both[0].key)
    found = looked(both[1])
    assert not gone_keys(found)
    assert "works on a grid that is not kept" in found.notes[0]


def test_no_result_goes_while_a_driver_works_and_layers_are_not_chosen(
    both: tuple[Resolved, Resolved], tmp_path: Path
) -> None:
    tracking = both[1].grid.tracking.model_dump()
    keep(one_cell(tmp_path, seeds=[7], name="waiting", tracking=tracking))
    store_of(both[1]).claims.drivers.say("other", HERE, grid=both[1].key)
    found = looked(both[1])
    assert not gone_keys(found)
    assert "may need any" in found.notes[0]


def test_no_result_goes_where_a_kept_grid_cannot_be_read(both: tuple[Resolved, Resolved]) -> None:
    store_of(both[1]).grids.save("grid-old", {"name": "old", "hardware": "cpu"})
    found = looked(both[1])
    assert not gone_keys(found)
    assert "--forget grid-old" in found.notes[0]


def test_no_result_goes_where_a_kept_grids_file_is_torn(both: tuple[Resolved, Resolved]) -> None:
    store_of(both[1]).files.write("grids/grid-torn.json", b"{")
    found = looked(both[1])
    assert not gone_keys(found)
    assert "grids/grid-torn.json in the store cannot be read" in found.notes[0]


def test_no_result_goes_where_no_grid_is_kept(both: tuple[Resolved, Resolved]) -> None:
    store_of(both[1]).files.remove_file(f"grids/{both[1].key}.json")
    assert not gone_keys(looked(both[1]))


def test_a_grid_that_is_forgotten_needs_nothing(both: tuple[Resolved, Resolved]) -> None:
    found = looked(both[1], Asked(forget=("kept",)))
    assert found.forgotten == (both[1].key,)
    assert keys_of(both[1], StageKind.PRUNE) <= gone_keys(found)


def test_a_grid_at_work_cannot_be_forgotten(both: tuple[Resolved, Resolved]) -> None:
    store_of(both[1]).claims.drivers.say("other", HERE, grid=both[1].key)
    with pytest.raises(InvalidInputError, match="runs now; cancel it before"):
        looked(both[1], Asked(forget=("kept",)))


def test_speeds_stay(both: tuple[Resolved, Resolved]) -> None:
    store_of(both[1]).files.write("stages/measure/measure-1/result.json", b'{"record": {}}')
    age(store_of(both[1]))
    assert "measure-1" not in gone_keys(looked(both[1]))


def weights_left(folder: Path, database: Path, **changes: object) -> Resolved:
    """A grid whose stage two still has its weights, as one that kept them has left them."""
    storage = {"store": str(folder / "store"), "keep_transfer_weights": True}
    (folder / "mlflow.db").write_bytes(database.read_bytes())
    return made(folder, storage=storage, **changes)


def test_weights_of_stage_two_go_once_a_checkpoint_is_made_of_them(
    tmp_path: Path, empty_database: Path
) -> None:
    grid = weights_left(tmp_path, empty_database)
    storage = grid.grid.storage.model_copy(update={"keep_transfer_weights": False})
    keep(replace(grid, grid=grid.grid.model_copy(update={"storage": storage})))
    (removal,) = looked(grid).decision.removals
    assert (removal.action, {removal.key}) == (Action.WEIGHTS, keys_of(grid, StageKind.TRANSFER))


def test_weights_that_a_grid_keeps_stay(tmp_path: Path, empty_database: Path) -> None:
    assert not looked(weights_left(tmp_path, empty_database)).decision.removals


def test_weights_without_a_checkpoint_stay(tmp_path: Path, empty_database: Path) -> None:
    grid = weights_left(tmp_path, empty_database)
    storage = grid.grid.storage.model_copy(update={"keep_transfer_weights": False})
    keep(replace(grid, grid=grid.grid.model_copy(update={"storage": storage})))
    (prune,) = keys_of(grid, StageKind.PRUNE)
    store_of(grid).stages.remove(prune)
    assert not looked(grid).decision.of(Action.WEIGHTS)


def leave_behind(store: Store, key: str) -> None:
    store.files.write(f"{stage_path(key)}/files-dead/model.safetensors", b"x" * 1000)
    age(store)


def stage_path(key: str) -> str:
    return f"stages/{key.rpartition('-')[0]}/{key}"


def test_what_a_dead_attempt_left_goes(both: tuple[Resolved, Resolved]) -> None:
    (key,) = keys_of(both[1], StageKind.PRUNE)
    leave_behind(store_of(both[1]), key)
    (removal,) = looked(both[1]).decision.of(Action.LEFT)
    assert (removal.key, removal.size_bytes) == (key, 1000)


def test_what_an_attempt_of_a_living_driver_left_stays(both: tuple[Resolved, Resolved]) -> None:
    (key,) = keys_of(both[1], StageKind.PRUNE)
    leave_behind(store_of(both[1]), key)
    store_of(both[1]).claims.drivers.say("other", HERE, [key], grid=both[1].key)
    assert not looked(both[1]).decision.of(Action.LEFT)


def test_snapshots_of_a_stage_that_is_not_done_stay(both: tuple[Resolved, Resolved]) -> None:
    (key,) = keys_of(both[1], StageKind.TRANSFER)
    store = store_of(both[1])
    store.stages.remove(key)
    store.files.write(f"{stage_path(key)}/snapshots/1/part", b"x")
    age(store)
    assert not [each for each in looked(both[1]).decision.removals if each.key == key]


def test_a_result_that_cannot_be_read_stays(both: tuple[Resolved, Resolved]) -> None:
    (key,) = keys_of(both[0], StageKind.PRUNE)
    store_of(both[0]).files.write(f"{stage_path(key)}/result.json", b"[]")
    age(store_of(both[0]))
    assert key not in gone_keys(looked(both[1]))
