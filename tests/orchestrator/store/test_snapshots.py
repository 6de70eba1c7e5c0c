"""Snapshots of a running stage, in a store."""

from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import KEY, SPEC, unclaimed


def test_snapshots_are_streamed_to_the_store_and_gone_when_the_stage_is_done(store: Store) -> None:
    for step in (3, 6):
        with StoreSnapshots(store, KEY, unclaimed(KEY)).create(step, "rank-0") as stream:
            stream.write(b"0123456789")
        StoreSnapshots(store, KEY, unclaimed(KEY)).commit(step, {"rank-0": 10}, {"loss": 0.5})
    found = StoreSnapshots(store, KEY).latest()
    assert found is not None
    assert (found.step, found.state) == (6, {"loss": 0.5})
    with StoreSnapshots(store, KEY).open(found, "rank-0") as stream:
        stream.seek(7)
        buffer = bytearray(3)
        assert (stream.readinto(buffer), buffer) == (3, b"789")
    store.stages.commit(unclaimed(KEY), SPEC, {})
    assert StoreSnapshots(store, KEY).latest() is None
