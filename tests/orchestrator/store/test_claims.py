"""Claims: of several drivers on one store, one works on a stage, and it alone can publish."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.coordination.process import ProcessIdentity
from orchestrator.store.claims import ClaimLostError, Held, Standing, Ticket
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import (
    KEY,
    RANKING,
    SPEC,
    files_folders,
    holder,
    stage_folder,
    ticket_of,
    unclaimed,
)
from trsp.records import RoundRecord

HERE = ProcessIdentity.here()
GONE = replace(HERE, start="1")  # a process of this machine that has ended


def dead_driver(store: Store, key: str = KEY) -> Ticket:
    """A claim whose driver is known to be gone."""
    ticket = ticket_of(store, key, owner="dead")
    path = f"stages/{key.rpartition('-')[0]}/{key}/claims/{ticket.number:06d}.json"
    entry = store.files.read_json(path)
    store.files.write_json(path, entry | {"process": vars(GONE)})
    return ticket


def test_a_claim_is_one_drivers_until_it_is_released(store: Store) -> None:
    ticket = ticket_of(store, owner="me")
    assert store.claims.take(KEY, "you") == Held("me", HERE)
    assert store.claims.release(ticket) is Standing.RELEASED
    assert store.claims.release(ticket) is Standing.RELEASED
    assert holder(store) is None
    assert isinstance(store.claims.take(KEY, "you"), Ticket)


def test_a_drivers_own_claim_is_taken_anew_and_its_older_attempt_has_lost(store: Store) -> None:
    first, second = ticket_of(store), ticket_of(store)
    assert store.claims.log.standing(first) is Standing.LOST
    assert store.claims.log.standing(second) is Standing.HELD


def test_a_dead_drivers_claim_is_taken_over_at_once(store: Store) -> None:
    dead_driver(store)
    assert isinstance(store.claims.take(KEY, "me"), Ticket)
    assert holder(store) == Held("me", HERE)


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_an_entry_that_cannot_be_read_is_nobodys(local: Store, content: str) -> None:
    ticket_of(local, owner="x")
    (stage_folder(local) / "claims" / "000001.json").write_text(content)
    assert isinstance(local.claims.take(KEY, "me"), Ticket)


def test_a_claim_of_before_is_not_honoured_and_goes_with_the_next_one(local: Store) -> None:
    stage_folder(local).mkdir(parents=True)
    (stage_folder(local) / "claim.json").write_text('{"owner": "old", "pid": 1}')
    ticket_of(local)
    local.stages.remove_orphans(KEY)
    assert not (stage_folder(local) / "claim.json").exists()


def test_a_clock_that_is_ahead_steals_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = ticket_of(store, owner="other")
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert isinstance(Store(store.uri).claims.take(KEY, "me"), Held)
    assert store.claims.log.standing(ticket) is Standing.HELD


def test_a_process_of_another_pid_namespace_is_not_taken_for_dead(local: Store) -> None:
    """Containers with the host's network share its name, and see none of each other's processes."""
    ticket = ticket_of(local, owner="container")
    path = stage_folder(local) / "claims" / f"{ticket.number:06d}.json"
    elsewhere = replace(GONE, namespace="pid:[1]")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"process": vars(elsewhere)}))
    assert local.claims.take(KEY, "me") == Held("container", elsewhere)


def test_a_paused_driver_that_wakes_cannot_give_back_what_another_has_taken_over(
    store: Store,
) -> None:
    paused = dead_driver(store)
    heir = ticket_of(store, owner="heir")
    assert store.claims.release(paused) is Standing.LOST
    assert store.claims.take(KEY, "third") == Held("heir", HERE)
    assert store.claims.log.standing(heir) is Standing.HELD


def test_an_attempt_that_lost_its_stage_commits_nothing_and_leaves_no_files(store: Store) -> None:
    late = dead_driver(store)
    with store.stages.staging(late) as slow:
        (slow / "model.safetensors").write_text("late")
        heir = ticket_of(store, owner="heir")
        with store.stages.staging(heir) as folder:
            (folder / "model.safetensors").write_text("heir's")
            store.stages.commit(heir, SPEC, {"by": "heir"}, folder)
        with pytest.raises(ClaimLostError):
            store.stages.commit(late, SPEC, {"by": "late"}, slow)
    assert store.stages.result(KEY) == {"by": "heir"}
    with store.stages.local_files(KEY) as files:
        assert (files / "model.safetensors").read_text() == "heir's"


def test_an_attempt_whose_files_were_taken_for_orphans_cannot_commit(store: Store) -> None:
    running = dead_driver(store)
    with store.stages.staging(running) as folder:
        (folder / "model.safetensors").write_text("weights")
        ticket_of(store, owner="heir")
        store.stages.remove_orphans(KEY)
        folder.mkdir(exist_ok=True)
        with pytest.raises(ClaimLostError):
            store.stages.commit(running, SPEC, {}, folder)
    assert not store.stages.done(KEY)


def test_orphans_are_those_of_attempts_that_can_commit_no_more(local: Store) -> None:
    first = ticket_of(local)
    with local.stages.staging(first) as folder:
        local.stages.commit(first, SPEC, {}, folder)
    dead = dead_driver(local)
    (stage_folder(local) / f"files-{dead.attempt}").mkdir()
    ticket_of(local, owner="heir")
    local.stages.remove_orphans(KEY)
    assert [path.name for path in files_folders(local)] == [f"files-{first.attempt}"]


def test_a_commit_whose_committer_died_at_once_is_brought_to_its_end(store: Store) -> None:
    ticket = ticket_of(store)
    store.stages.commit(ticket, SPEC, {"value": 1})
    store.stages.remove(KEY)  # as if it had died before it came to this
    heir = ticket_of(store, owner="heir")
    assert store.stages.result(KEY) == {"value": 1}
    assert store.claims.log.standing(ticket) is Standing.COMMITTED
    store.claims.release(heir)


def test_a_result_that_was_deleted_after_its_claim_was_given_back_stays_away(store: Store) -> None:
    ticket = ticket_of(store)
    store.stages.commit(ticket, SPEC, {"value": 1})
    assert store.claims.release(ticket) is Standing.COMMITTED
    store.stages.remove(KEY)
    ticket_of(store, owner="heir")
    assert not store.stages.done(KEY)


def test_a_commit_whose_answer_was_lost_is_one_all_the_same(store: Store) -> None:
    ticket = ticket_of(store)
    store.stages.commit(ticket, SPEC, {"value": 1})
    store.claims.log.commit(ticket, {"record": {"value": 1}, "files": None, "versions": {}})
    assert store.claims.release(ticket) is Standing.COMMITTED


def test_rounds_of_two_writers_do_not_mix(store: Store) -> None:
    def round_of(number: int, layer: int) -> RoundRecord:
        return RoundRecord(round=number, layer=layer)

    paused = dead_driver(store, RANKING)
    store.rankings.publish(paused, round_of(0, 13))
    heir = ticket_of(store, RANKING, owner="heir")
    store.rankings.publish(heir, round_of(1, 15))
    with pytest.raises(ClaimLostError):
        store.rankings.publish(paused, round_of(1, 14))
    with pytest.raises(ClaimLostError):
        store.rankings.publish(paused, round_of(2, 15))
    assert [record.layer for record in store.rankings.rounds(RANKING)] == [13, 15]


def test_a_round_is_never_written_over(store: Store) -> None:
    """Not even where its writer still believes that the ranking is its own."""
    store.rankings.publish(unclaimed(RANKING), RoundRecord(round=0, layer=13))
    with pytest.raises(ClaimLostError):
        store.rankings.publish(unclaimed(RANKING), RoundRecord(round=0, layer=15))
    assert [record.layer for record in store.rankings.rounds(RANKING)] == [13]


def test_who_holds_what_is_known_by_one_list(store: Store) -> None:
    store.claims.drivers.say("me", HERE, {KEY})
    store.claims.drivers.say("you", HERE, {RANKING})
    store.claims.drivers.say("dead", GONE, {"prune-9"})
    assert store.claims.held_by_others("me") == {RANKING: Held("you", HERE)}
    assert Store(store.uri).claims.held_now().keys() == {KEY, RANKING}


def _race(uri: str, keys: list[str], owner: str, barrier: object, won: object) -> None:
    store = Store(uri)
    for key in keys:
        barrier.wait()  # type: ignore[attr-defined]
        if isinstance(store.claims.take(key, owner), Ticket):
            won.put((key, owner))  # type: ignore[attr-defined]
    barrier.wait()  # type: ignore[attr-defined]  # a winner must live until the last one has looked


def test_of_two_processes_exactly_one_gets_a_claim(local: Store) -> None:
    """Also where both find the same dead driver's claim, as of every second stage here."""
    keys = [f"prune-{i:03d}" for i in range(200)]
    for key in keys[::2]:
        dead_driver(local, key)
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(2), context.SimpleQueue()
    racers = [
        context.Process(target=_race, args=(local.uri, keys, owner, barrier, won), daemon=True)
        for owner in ("a", "b")
    ]
    for racer in racers:
        racer.start()
    wins = []
    for racer in racers:
        racer.join(timeout=60)
        assert racer.exitcode == 0
    while not won.empty():
        wins.append(won.get())
    assert sorted(key for key, _ in wins) == keys
    assert all(holder(local, key).owner == owner for key, owner in wins)  # type: ignore[union-attr]


def test_a_driver_that_was_killed_is_dead_for_others_of_its_machine_at_once(local: Store) -> None:
    code = f"""
import os, signal
from orchestrator.coordination.heartbeat import Heartbeat
from orchestrator.store.store import Store
store = Store({local.uri!r})
beat = Heartbeat(store.claims.drivers, "killed")
beat.begin()
store.claims.take({KEY!r}, "killed")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert os.listdir(Path(local.uri, "drivers")) == ["killed.json"]
    assert isinstance(local.claims.take(KEY, "me"), Ticket)
    local.claims.drivers.remove_dead()
    assert os.listdir(Path(local.uri, "drivers")) == []
