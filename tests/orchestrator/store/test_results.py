"""What is remembered of a store, what is read again, and when: counted in requests."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.execution.run_stage import StageTask
from orchestrator.layouts.layout import Layout
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.failures import Failure
from orchestrator.store.files import StoreFiles
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from tests.orchestrator.fake_launcher import finish
from tests.orchestrator.store.sample_stage import files_uri, unclaimed
from trsp.records import CheckpointRecord, RoundRecord

SPECS = [StageSpec(StageKind.PRUNE, {"layers": [layer]}) for layer in range(3)]
SPEC = SPECS[0]
RANKING = "rank-1"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each path of the store was read or listed."""
    counts: Counter[str] = Counter()
    for name in ("read", "names"):
        call = getattr(StoreFiles, name)

        def counted(files: StoreFiles, path: str, call: Any = call) -> Any:
            counts[path] += 1
            return call(files, path)

        monkeypatch.setattr(StoreFiles, name, counted)
    return counts


def run(store: Store, spec: StageSpec) -> None:
    finish(StageTask(spec, store.uri, Layout()))


def test_what_is_absent_costs_one_listing_of_its_kind(store: Store, asked: Counter[str]) -> None:
    results = StoreResults(store)
    for _ in range(3):
        assert [results.done(spec.key) for spec in SPECS] == [False] * 3
        assert results.failure(SPEC.key) == ""
    assert asked == {"stages/prune": 1}


def test_what_is_there_is_read_once(store: Store, asked: Counter[str]) -> None:
    run(store, SPEC)
    asked.clear()
    results = StoreResults(store)
    for _ in range(3):
        assert results.done(SPEC.key)
        assert isinstance(results.record(SPEC.key), CheckpointRecord)
        assert results.versions(SPEC.key) == {}
        uri = results.checkpoint_uri(SPEC.key)
    assert asked == {"stages/prune": 1, f"stages/prune/{SPEC.key}/result.json": 1}
    assert uri == files_uri(store, SPEC.key)


def test_an_absence_is_believed_until_the_key_is_forgotten(store: Store) -> None:
    results = StoreResults(store)
    assert not results.done(SPEC.key)
    run(store, SPEC)
    assert not results.done(SPEC.key)
    assert results.take_changed() == set()
    results.forget(SPEC.key)
    assert results.done(SPEC.key)
    assert results.take_changed() == {SPEC.key}


def test_what_is_forgotten_is_asked_again_at_once(store: Store) -> None:
    run(store, SPEC)
    results = StoreResults(store)
    assert results.done(SPEC.key)
    store.stages.drop_files(SPEC.key)
    results.forget(SPEC.key)
    assert not results.done(SPEC.key)
    assert results.checkpoint_uri(SPEC.key) is None
    assert results.record(SPEC.key) is not None


def test_new_stages_are_found_by_a_listing_and_nothing_else_is_read(
    store: Store, asked: Counter[str]
) -> None:
    run(store, SPECS[0])
    results = StoreResults(store)
    assert [results.done(spec.key) for spec in SPECS] == [True, False, False]
    run(store, SPECS[1])
    asked.clear()
    results.look_for_new_stages()
    assert results.take_changed() == {SPECS[1].key}
    assert [results.done(spec.key) for spec in SPECS] == [True, True, False]
    assert asked == {"stages/prune": 1, f"stages/prune/{SPECS[1].key}/result.json": 1}


def test_many_stages_are_read_at_once_and_only_those_that_are_there(
    store: Store, asked: Counter[str]
) -> None:
    for spec in SPECS[:2]:
        run(store, spec)
    asked.clear()
    results = StoreResults(store)
    results.load(spec.key for spec in SPECS)
    assert asked.total() == 3
    assert [results.done(spec.key) for spec in SPECS] == [True, True, False]
    assert asked.total() == 3


def test_rounds_are_added_to_those_known(store: Store, asked: Counter[str]) -> None:
    store.rankings.publish(unclaimed(RANKING), RoundRecord(round=0, layer=7))
    results = StoreResults(store)
    assert results.order(RANKING) == (7,)
    store.rankings.publish(unclaimed(RANKING), RoundRecord(round=1, layer=3))
    assert results.order(RANKING) == (7,), "nobody has looked"
    results.look_at_rankings([RANKING])
    assert results.order(RANKING) == (7, 3)
    assert results.take_changed() == {RANKING}
    assert asked[f"stages/rank/{RANKING}/rounds/000.json"] == 1
    results.look_at_rankings([RANKING])
    assert results.take_changed() == set()
    assert not results.done(RANKING)


def test_the_last_failure_is_told_until_the_stage_is_forgotten(store: Store) -> None:
    store.failures.record(SPEC.key, Failure("KeyError", "'x'"))
    results = StoreResults(store)
    assert results.failure(SPEC.key) == "KeyError: 'x'"
    store.failures.record(SPEC.key, Failure("KeyError", "'y'"))
    assert results.failure(SPEC.key) == "KeyError: 'x'"
    results.forget(SPEC.key)
    assert results.failure(SPEC.key) == "KeyError: 'y'"
