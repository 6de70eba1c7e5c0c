"""What is wrong with a store is found: a trial that finds nothing else would prove nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from orchestrator.store.store import Store
from tests.orchestrator.fake_launcher import FakeLauncher, controller_of, drive, one_cell
from tests.trials import findings

PUT = '127.0.0.1 - - [24/Nov/2026 20:21:58] "PUT /b/round-1/stages/{path} HTTP/1.1" {status} -'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a grid of one cell, all done."""
    grid = one_cell(tmp_path / "a b")
    drive(controller_of(grid, FakeLauncher()))
    return Store(grid.grid.storage.store)


def stage(store: Store, kind: str) -> Path:
    """The folder of the only stage of that kind."""
    (folder,) = Path(store.uri).glob(f"stages/{kind}/*")
    return folder


def test_a_grid_that_has_ended_leaves_no_orphans(store: Store) -> None:
    assert list(findings.orphans(store.uri)) == []


@pytest.mark.parametrize(
    "name", ["files-halfway/x", "ranks/1/began", "snapshots/3/x", ".result.json.1234", "claim.json"]
)
def test_what_an_attempt_has_left_is_an_orphan(store: Store, name: str) -> None:
    left = stage(store, "prune") / name
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_text("left")
    (found,) = findings.orphans(store.uri)
    assert name.partition("/")[0] in found


def test_a_stage_without_a_result_is_an_orphan(store: Store) -> None:
    (stage(store, "evaluate") / "result.json").unlink()
    (found,) = findings.orphans(store.uri)
    assert "has no result" in found


def test_a_sign_of_life_of_a_driver_that_is_gone_is_an_orphan(store: Store) -> None:
    store.files.write_json("drivers/1.json", {})
    assert list(findings.orphans(store.uri)) == ["drivers/1.json"]


def test_equal_results_do_not_differ_whatever_time_they_took(store: Store, tmp_path: Path) -> None:
    other = one_cell(tmp_path / "other")
    drive(controller_of(other, FakeLauncher()))
    assert list(findings.differences(store.uri, other.grid.storage.store, 0.0)) == []
    assert len(findings.read_results(store.uri)) >= 5


def test_a_result_that_is_missing_is_a_difference(store: Store, tmp_path: Path) -> None:
    found = set(findings.differences(store.uri, str(tmp_path / "empty"), 0.0))
    assert f"{stage(store, 'evaluate').name} is in one run only" in found


def test_weights_that_are_not_equal_differ_by_a_part_of_the_largest() -> None:
    one = np.array([1.0, 4.0], dtype=np.float32)
    other = np.array([1.0, 4.2], dtype=np.float32)
    apart = findings.distance(save({"w": one}), save({"w": other}))
    assert apart == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.0]}, 0.0),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 1.0]}, 0.5),
        ({"a": 1}, {"b": 1}, float("inf")),
        ([1, 2], [1], float("inf")),
        ("x", "y", float("inf")),
        (True, False, 1.0),
    ],
)
def test_the_distance_of_records(one: object, other: object, apart: float) -> None:
    assert findings.distance(one, other) == apart


def test_a_round_that_was_written_twice_is_found_in_the_log_of_the_server(tmp_path: Path) -> None:
    lines = [
        PUT.format(path="rank/rank-1/rounds/000.json", status=200),
        PUT.format(path="rank/rank-1/rounds/000.json?partNumber=1&uploadId=x", status=200),
        PUT.format(path="rank/rank-1/rounds/001.json", status=200),
        PUT.format(path="rank/rank-1/rounds/001.json?uploadId=x", status=200).replace(
            "PUT", "POST"
        ),
        PUT.format(path="rank/rank-1/rounds/002.json", status=200),
        PUT.format(path="rank/rank-1/rounds/002.json", status=412),
    ]
    log = tmp_path / "s3.log"
    log.write_text("\n".join(lines))
    (found,) = findings.rounds_written_twice(log, "round-1")
    assert found == "rank/rank-1/rounds/001.json was written 2 times"


@pytest.mark.parametrize(
    ("entries", "wrong"),
    [
        (["claim"], "is still claimed"),
        (["claim", "commit", "release", "claim", "commit"], "was committed 2 times"),
    ],
)
def test_a_log_of_claims_that_tells_of_something_wrong(
    tmp_path: Path, entries: list[str], wrong: str
) -> None:
    _write_log(tmp_path, entries)
    (found,) = findings.claims(str(tmp_path))
    assert wrong in found


def test_a_log_of_an_attempt_that_was_lost_and_one_that_was_not(tmp_path: Path) -> None:
    _write_log(tmp_path, ["claim", "claim", "commit", "release"])
    assert list(findings.claims(str(tmp_path))) == []


def _write_log(store: Path, entries: list[str]) -> None:
    folder = store / "stages" / "prune" / "prune-1" / "claims"
    folder.mkdir(parents=True)
    for number, kind in enumerate(entries, start=1):
        (folder / f"{number:06d}.json").write_text(json.dumps({"kind": kind}))
