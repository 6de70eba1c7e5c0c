"""Claims: of several drivers on one store, exactly one works on a stage."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from orchestrator.store.claims import CLAIM_LIFETIME_S, Claim
from orchestrator.store.store import Store
from tests.orchestrator.store.sample_stage import KEY, stage_folder

NOW = time.time()


def write_claim(store: Store, claim: Claim) -> None:
    folder = stage_folder(store)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "claim.json").write_text(json.dumps(asdict(claim)))


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_claim_is_one_drivers_until_it_is_released(store: Store) -> None:
    assert store.claims.take(KEY, "me") is None
    other = store.claims.take(KEY, "you")
    assert other is not None
    assert (other.owner, other.pid) == ("me", os.getpid())
    assert store.claims.take(KEY, "me") is None
    store.claims.renew(KEY, "me")
    store.claims.release(KEY)
    store.claims.release(KEY)
    assert store.claims.take(KEY, "you") is None


def test_a_dead_drivers_claim_is_taken_over_at_once(local: Store) -> None:
    write_claim(local, Claim("dead", socket.gethostname(), dead_pid(), NOW, process_start="1"))
    assert local.claims.take(KEY, "me") is None
    assert local.claims.holder(KEY).owner == "me"  # type: ignore[union-attr]


def test_a_later_process_with_the_same_pid_is_not_the_claims_owner(local: Store) -> None:
    write_claim(local, Claim("dead", socket.gethostname(), os.getpid(), NOW, process_start="1"))
    assert local.claims.take(KEY, "me") is None


def test_a_living_process_of_this_machine_keeps_its_claim_however_long_a_step_takes(
    local: Store,
) -> None:
    mine = Claim.mine("busy")
    assert mine.alive(NOW + 10 * CLAIM_LIFETIME_S)


def test_a_remote_claim_lives_as_long_as_it_is_renewed(local: Store) -> None:
    now = time.time()
    remote = Claim("far", "another-host", 1, now)
    assert remote.alive(now + CLAIM_LIFETIME_S / 2)
    assert not remote.alive(now + 2 * CLAIM_LIFETIME_S)
    write_claim(local, remote)
    assert local.claims.take(KEY, "me") == remote
    write_claim(local, Claim("far", "another-host", 1, now - 2 * CLAIM_LIFETIME_S))
    assert local.claims.take(KEY, "me") is None


@pytest.mark.parametrize("content", ["", "{"])
def test_an_unreadable_claim_is_nobodys(local: Store, content: str) -> None:
    write_claim(local, Claim.mine("x"))
    (stage_folder(local) / "claim.json").write_text(content)
    assert local.claims.take(KEY, "me") is None
    assert local.claims.holder(KEY).owner == "me"  # type: ignore[union-attr]


def _race(uri: str, keys: list[str], owner: str, barrier: object, won: object) -> None:
    store = Store(uri)
    for key in keys:
        barrier.wait()  # type: ignore[attr-defined]
        if store.claims.take(key, owner) is None:
            won.put((key, owner))  # type: ignore[attr-defined]
    barrier.wait()  # type: ignore[attr-defined]  # a winner must live until the last one has looked


@pytest.mark.parametrize("stale", [False, True], ids=["free", "stale"])
def test_of_two_processes_exactly_one_gets_a_claim(local: Store, stale: bool) -> None:
    """Also where both find the same dead driver's claim."""
    keys = [f"prune-{i:03d}" for i in range(100)]
    if stale:
        for key in keys:
            stage_folder(local, key).mkdir(parents=True)
            old = Claim("dead", "another-host", 1, NOW - 2 * CLAIM_LIFETIME_S)
            (stage_folder(local, key) / "claim.json").write_text(json.dumps(asdict(old)))
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(2), context.SimpleQueue()
    racers = [
        context.Process(target=_race, args=(local.uri, keys, owner, barrier, won))
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
    assert {local.claims.holder(key).owner for key, owner in wins} == {owner for _, owner in wins}  # type: ignore[union-attr]
