"""What a driver holds of a store that fails: nothing is kept for good, and nothing waits twice."""

import errno
import os
from pathlib import Path

import pytest

from orchestrator.coordination.stage_log import StageLog
from orchestrator.scheduler import holdings
from orchestrator.scheduler.holdings import Holdings
from orchestrator.store.claims import Claims, Held, Standing, Ticket
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import holder

KEYS = [f"prune-{number}" for number in range(6)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def at_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is owed is tried at every call, and not every few seconds."""
    monkeypatch.setattr(holdings, "OWED_RETRY_S", 0.0)


def error_of(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_a_stage_that_the_store_refuses_keeps_no_other_from_being_given_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, release = Holdings(store.claims), Claims.release
    for key in KEYS:
        mine.take(key)

    def refused(claims: Claims, ticket: Ticket) -> Standing:
        if ticket.key == KEYS[0]:
            raise error_of(errno.EACCES)
        return release(claims, ticket)

    with monkeypatch.context() as full:
        full.setattr(Claims, "release", lambda *_: (_ for _ in ()).throw(error_of(errno.ENOSPC)))
        for key in KEYS:
            mine.release(key)
    monkeypatch.setattr(Claims, "release", refused)
    mine.tend()
    assert [key for key in KEYS if holder(store, key)] == KEYS[:1]
    mine.close()


def test_a_store_that_is_away_is_asked_once_and_not_once_per_stage(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a driver that is told to stop ends in seconds, however many stages it holds."""
    monkeypatch.setattr(holdings, "OWED_RETRY_S", 60.0)
    mine, asked = Holdings(store.claims), []
    for key in KEYS:
        mine.take(key)

    def away(_: Claims, ticket: Ticket) -> Standing:
        asked.append(ticket.key)
        raise error_of(errno.ECONNREFUSED)

    with monkeypatch.context() as outage:
        outage.setattr(Claims, "release", away)
        assert {mine.release(key) for key in KEYS} == {Standing.HELD}
        assert asked == KEYS[:1]
    mine.close()
    assert not any(holder(store, key) for key in KEYS), "given back at the end"


def test_a_claim_whose_answer_was_lost_does_not_stay_for_as_long_as_its_driver_lives(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, append = Holdings(store.claims), StageLog.append

    def lost(*arguments: object) -> bool:
        append(*arguments)  # type: ignore[arg-type]
        raise error_of(errno.ETIMEDOUT)

    with monkeypatch.context() as outage:
        outage.setattr(StageLog, "append", lost)
        with pytest.raises(OSError, match="timed out"):
            mine.take(KEYS[0])
    assert isinstance(store.claims.take(KEYS[0], "another"), Held)
    mine.tend()
    assert isinstance(store.claims.take(KEYS[0], "another"), Ticket)
    mine.tend()
    assert isinstance(Store(store.uri).claims.take(KEYS[0], "a third"), Held), "not ours to give"
    mine.close()
