"""What is remembered of a store, what is read again, and when."""

from pathlib import Path

import pytest

from orchestrator.coordination.stage_log import StageLog
from orchestrator.execution.run_stage import StageTask
from orchestrator.layouts.layout import Layout
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.files import StoreFiles
from orchestrator.store.results import StoreResults
from orchestrator.store.stage_results import StageResults
from orchestrator.store.store import Store
from tests.orchestrator.fake_launcher import finish
from tests.orchestrator.store.sample_stage import unclaimed
from trsp.records import RoundRecord

SPEC = StageSpec(StageKind.PRUNE, {"layers": [1]})


class CountingStages(StageResults):
    """Stage results that note the keys they are read for."""

    def __init__(self, files: StoreFiles, log: StageLog) -> None:
        super().__init__(files, log)
        self.reads: list[str] = []

    def result(self, key: str) -> dict[str, object] | None:
        self.reads.append(key)
        return super().result(key)


class CountingStore(Store):
    """A store whose stage results note the keys they are read for."""

    stages: CountingStages

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.stages = CountingStages(self.files, self.claims.log)


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
    reads = len(store.stages.reads)
    now[0] = 1000
    assert results.done(SPEC.key)
    assert len(store.stages.reads) == reads


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
        store.rankings.publish(unclaimed(key), RoundRecord(round=number, layer=layer))
        assert len(results.order(key)) == number + 1
    assert results.order(key) == (7, 3)
    assert not results.done(key)
