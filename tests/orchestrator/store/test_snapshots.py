"""Snapshots of a running stage, in a store."""

import pytest

from orchestrator.store.claims import ClaimLostError
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import KEY, SPEC, ticket_of, unclaimed


def test_an_attempt_that_lost_its_stage_changes_no_snapshots(store: Store) -> None:
    paused, heir = ticket_of(store), ticket_of(store)  # of one driver: the later one has it
    take(StoreSnapshots(store, KEY, heir), 6)
    with pytest.raises(ClaimLostError):
        take(StoreSnapshots(store, KEY, paused), 3)
    with pytest.raises(ClaimLostError):
        StoreSnapshots(store, KEY, paused).keep_only(None)
    newest = StoreSnapshots(store, KEY).latest()
    assert newest is not None
    assert newest.step == 6


def test_what_a_later_attempt_took_is_not_removed_by_one_that_loses_the_stage_right_then(
    store: Store,
) -> None:
    """It is paused between the look at its claim and what it does by it."""
    first = ticket_of(store)
    take(StoreSnapshots(store, KEY, first), 3)
    snapshots = StoreSnapshots(store, KEY, first)
    require = snapshots._require

    def pause() -> None:
        require()
        take(StoreSnapshots(store, KEY, ticket_of(store)), 9)

    snapshots._require = pause
    take(snapshots, 6)
    newest = StoreSnapshots(store, KEY).latest()
    assert newest is not None
    assert newest.step == 9


def take(snapshots: StoreSnapshots, step: int) -> None:
    with snapshots.create(step, "rank-0") as stream:
        stream.write(b"x")
    snapshots.commit(step, {"rank-0": 1}, {})


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
