"""A driver that was paused for so long that others took it for dead, and wakes up."""

from dataclasses import replace

from orchestrator.coordination.drivers import Drivers
from orchestrator.coordination.heartbeat import Heartbeat
from orchestrator.coordination.process import ProcessIdentity
from tests.orchestrator.coordination.memory_files import MemoryFiles
from tests.orchestrator.coordination.test_drivers import Clock

LIFETIME_S, RECHECK_S = 10.0, 2.0
ELSEWHERE = replace(ProcessIdentity.here(), boot="another machine")


def watch_until_dead(watcher: Drivers, clock: Clock) -> None:
    """Look at the driver ``other``, who says nothing, until it is taken for dead."""
    for _ in range(100):
        if not watcher.is_alive("other", ELSEWHERE):
            return
        clock.now += RECHECK_S
    raise AssertionError("it is never taken for dead")


def test_its_first_sign_counts_at_once_however_short_ago_it_was_looked_at() -> None:
    files, clock = MemoryFiles(), Clock()
    watcher = Drivers(files, LIFETIME_S, RECHECK_S, clock)
    watcher.say("other", ELSEWHERE)
    watch_until_dead(watcher, clock)
    watcher.say("other", ELSEWHERE)
    assert watcher.is_alive("other", ELSEWHERE)


def test_it_gives_a_sign_before_it_claims_anything() -> None:
    files, clock = MemoryFiles(), Clock()
    heartbeat = Heartbeat(Drivers(files, LIFETIME_S), "me", clock)
    heartbeat.begin()
    before = dict(files.content)
    clock.now += LIFETIME_S
    heartbeat.begin()
    assert files.content.keys() == before.keys()
    assert files.content != before
    heartbeat.end()
