"""Signs of life from a thread of their own, and what a driver knows of its own pauses."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.coordination.drivers import Drivers
from orchestrator.coordination.heartbeat import Heartbeat
from orchestrator.store.claims import Standing, Ticket
from orchestrator.store.store import Store
from tests.orchestrator.coordination.memory_files import MemoryFiles
from tests.orchestrator.coordination.test_drivers import Clock

KEY = "prune-1"


class AwayFiles(MemoryFiles):
    """Files of a store that may be away."""

    away = False

    def turn(self) -> None:
        if self.away:
            raise OSError("connection refused")


def wait_until(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_signs_go_on_whatever_the_driver_does_and_tell_what_it_holds() -> None:
    files = MemoryFiles()
    watcher = Drivers(files)
    beat = Heartbeat(Drivers(files, lifetime_s=1.0), "me")
    beat.begin()
    first = watcher.living()["me"].nonce
    beat.hold({KEY})
    wait_until(lambda: watcher.living()["me"].keys == (KEY,))
    wait_until(lambda: watcher.living()["me"].nonce != first)
    beat.hold(set())
    assert watcher.living()["me"].keys == ()
    beat.end()
    beat.end()
    assert watcher.living() == {}


def test_a_heartbeat_that_nobody_has_any_more_ends() -> None:
    beat = Heartbeat(Drivers(MemoryFiles(), lifetime_s=0.2), "me")
    beat.begin()
    thread = beat._thread
    del beat
    gc.collect()
    assert thread is not None
    wait_until(lambda: not thread.is_alive())


def test_a_pause_in_which_others_may_have_given_it_up_is_known_until_it_was_seen_to() -> None:
    clock = Clock()
    beat = Heartbeat(Drivers(MemoryFiles(), lifetime_s=60), "me", clock)
    beat.begin()
    clock.now += 25
    beat.beat()
    assert beat.gaps() == 0
    clock.now += 40
    assert beat.gaps() == 1
    beat.beat()
    assert beat.gaps() == 1
    beat.checked(1)
    assert beat.gaps() == 0
    beat.end()


def test_while_the_store_is_away_what_it_holds_is_looked_at_now_and_then() -> None:
    clock, files = Clock(), AwayFiles()
    beat = Heartbeat(Drivers(files, lifetime_s=60), "me", clock)
    beat.begin()
    files.away = True
    clock.now += 40
    beat.beat()
    assert beat.gaps() == 1
    beat.checked(1)
    assert beat.gaps() == 0
    clock.now += 40
    assert beat.gaps() == 1
    files.away = False
    beat.beat()
    assert beat.gaps() == 1, "and once more when it is back"
    beat.end()


def test_a_heartbeat_that_cannot_begin_says_so() -> None:
    files = AwayFiles()
    files.away = True
    with pytest.raises(OSError, match="refused"):
        Heartbeat(Drivers(files), "me").begin()


PAUSED = """
import sys, time
from orchestrator.scheduler.holdings import Holdings
from orchestrator.store.store import Store
holdings = Holdings(Store(sys.argv[1]).claims)
holdings.take("prune-1")
print("holds", flush=True)
while not (lost := holdings.lost()):
    time.sleep(0.02)
print(lost, flush=True)
print(holdings.release("prune-1"), flush=True)
holdings.close()
"""


def test_a_driver_that_was_paused_for_longer_than_a_claim_lives_knows_what_it_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRSP_CLAIM_LIFETIME_S", "1")
    driver = subprocess.Popen(
        [sys.executable, "-c", PAUSED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "holds\n"
    store = Store(str(tmp_path))
    os.kill(driver.pid, signal.SIGSTOP)
    taken: list[Ticket] = []

    def is_taken() -> bool:
        took = store.claims.take(KEY, "heir")
        taken.extend([took] if isinstance(took, Ticket) else [])
        return bool(taken)

    wait_until(is_taken)
    os.kill(driver.pid, signal.SIGCONT)
    assert driver.communicate(timeout=20)[0] == f"('{KEY}',)\nlost\n"
    assert store.claims.log.standing(taken[0]) is Standing.HELD
    assert list((tmp_path / "drivers").iterdir()) == []
