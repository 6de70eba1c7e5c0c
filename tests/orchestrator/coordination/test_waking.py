"""A driver that was paused for so long that others took it for dead, and wakes up."""

from dataclasses import replace

from orchestrator.coordination.drivers import Drivers
from orchestrator.coordination.heartbeat import Heartbeat
from orchestrator.coordination.process import ProcessIdentity

LIFETIME_S, RECHECK_S = 10.0, 2.0
ELSEWHERE = replace(ProcessIdentity.here(), boot="another machine")


class MemoryFiles:
    """The files of a store, in memory."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    def read(self, path: str) -> bytes | None:
        return self.stored.get(path)

    def write(self, path: str, data: bytes) -> None:
        self.stored[path] = data

    def create(self, path: str, data: bytes) -> bool:
        return self.stored.setdefault(path, data) is data

    def names(self, path: str) -> list[str]:
        return sorted(name.removeprefix(f"{path}/") for name in self.stored)

    def remove_file(self, path: str) -> None:
        self.stored.pop(path, None)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


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
    before = dict(files.stored)
    clock.now += LIFETIME_S
    heartbeat.begin()
    assert files.stored.keys() == before.keys()
    assert files.stored != before
    heartbeat.end()
