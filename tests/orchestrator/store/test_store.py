"""The store as a whole, and its layout on disk."""

import json
from pathlib import Path

import pytest

from orchestrator.store.failures import Failure, RankFailure
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import (
    KEY,
    RANKING,
    commit,
    files_folders,
    files_uri,
    holder,
    stage_folder,
    unclaimed,
)
from trsp.errors import StoreError
from trsp.records import RoundRecord


def test_an_empty_store_knows_nothing(store: Store) -> None:
    assert not store.stages.done(KEY)
    assert store.stages.result(KEY) is None
    assert files_uri(store) is None
    assert store.rankings.rounds(RANKING) == ()
    assert store.failures.history(KEY) == ()
    assert holder(store) is None
    assert store.grids.load("grid-1") == {}
    with pytest.raises(StoreError, match="no files"), store.stages.local_files(KEY):
        pass


def test_a_second_store_on_the_same_place_sees_the_same(store: Store) -> None:
    commit(store)
    assert Store(store.uri).stages.result(KEY) == store.stages.result(KEY)
    assert files_uri(Store(store.uri + "/")) == files_uri(store)


def fields(path: Path) -> list[str]:
    """The names in a JSON file that holds an object."""
    return list(json.loads(path.read_text()))


def test_its_layout_on_disk_is_the_one_that_filled_stores_have(local: Store) -> None:
    """Stores outlive versions of this code, and drivers of several versions share one."""
    commit(local)
    local.rankings.publish(unclaimed(RANKING), RoundRecord(round=0, layer=3))
    group = RankFailure((0,), "KeyError", "'layers'")
    local.failures.record(KEY, Failure("KeyError", "'layers'", ranks=(group,)))
    local.claims.take(KEY, "me")
    local.grids.save("grid-1", {"hardware": "cpu"})
    local.layouts.save("transfer-1", {"ranks": 2})
    (artifacts,) = files_folders(local)
    (attempt,) = (path.stem for path in (stage_folder(local) / "failures").iterdir())

    root, stage = Path(local.uri), f"stages/prune/{KEY}"
    written = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert written == {
        "grids/grid-1.json",
        "layouts/transfer-1.json",
        f"stages/rank/{RANKING}/rounds/000.json",
        f"{stage}/spec.json",
        f"{stage}/result.json",
        f"{stage}/{artifacts.name}/model.safetensors",
        f"{stage}/{artifacts.name}/inside/config.json",
        f"{stage}/failures/{attempt}.json",
        f"{stage}/log-{attempt}.txt",
        *(f"{stage}/claims/{number:06d}.json" for number in range(1, 5)),
    }
    claim, failure = root / stage / "claims/000001.json", root / stage / f"failures/{attempt}.json"
    assert fields(claim) == ["kind", "attempt", "owner", "process", "result"]
    known = ["error", "message", "kind", "details", "when", "ranks", "layout", "node"]
    assert fields(failure) == known
    assert fields(root / stage / "result.json") == ["record", "files", "versions", "claim"]
    local.stages.drop_files(KEY)
    assert fields(root / stage / "result.json")[-1] == "dropped"
