"""Which drivers live, judged by whether their files change, on one's own clock."""

import time
from dataclasses import replace

import pytest

from orchestrator.coordination.drivers import Drivers
from orchestrator.coordination.process import ProcessIdentity
from tests.orchestrator.coordination.memory_files import MemoryFiles

HERE = ProcessIdentity.here()
FAR = replace(HERE, boot="another machine")
LIFETIME_S = 60.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def files() -> MemoryFiles:
    return MemoryFiles()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watcher(files: MemoryFiles, clock: Clock) -> Drivers:
    return Drivers(files, LIFETIME_S, clock=clock)


def watch(watcher: Drivers, clock: Clock, seconds: float, every_s: float = 2.0) -> None:
    """Look again and again for so long."""
    end = clock.now + seconds
    while clock.now < end:
        clock.now += every_s
        watcher.living()


def test_a_driver_lives_while_its_file_changes(
    files: MemoryFiles, watcher: Drivers, clock: Clock
) -> None:
    for _ in range(100):
        Drivers(files).say("far", FAR, {"prune-1"})
        watch(watcher, clock, 4)
    assert watcher.is_alive("far", FAR)
    assert watcher.living()["far"].keys == ("prune-1",)


def test_one_that_is_silent_for_a_lifetime_of_ours_is_dead_until_it_speaks_again(
    files: MemoryFiles, watcher: Drivers, clock: Clock
) -> None:
    Drivers(files).say("far", FAR)
    watch(watcher, clock, LIFETIME_S - 4)
    assert watcher.is_alive("far", FAR)
    watch(watcher, clock, 8)
    assert not watcher.is_alive("far", FAR)
    assert watcher.living() == {}
    Drivers(files).say("far", FAR)
    assert watcher.is_alive("far", FAR)


def test_a_watcher_that_was_away_itself_takes_nobody_for_dead(
    files: MemoryFiles, watcher: Drivers, clock: Clock
) -> None:
    """Both were suspended: neither has heard of the other for an hour."""
    Drivers(files).say("far", FAR)
    watch(watcher, clock, 4)
    clock.now += 3600
    assert watcher.is_alive("far", FAR)


def test_a_driver_whose_file_is_not_seen_yet_has_a_lifetime_to_show_it(
    watcher: Drivers, clock: Clock
) -> None:
    assert watcher.is_alive("new", FAR)
    watch(watcher, clock, LIFETIME_S + 4)
    assert not watcher.is_alive("new", FAR)


def test_a_driver_that_said_goodbye_is_dead_at_once(
    files: MemoryFiles, watcher: Drivers, clock: Clock
) -> None:
    Drivers(files).say("far", FAR)
    assert watcher.is_alive("far", FAR)
    Drivers(files).leave("far")
    Drivers(files).leave("far")
    assert not watcher.is_alive("far", FAR)


def test_a_process_of_this_machine_that_is_gone_is_dead_at_once(
    files: MemoryFiles, watcher: Drivers
) -> None:
    Drivers(files).say("gone", replace(HERE, start="1"))
    assert watcher.living() == {}
    watcher.remove_dead()
    assert files.content == {}


def test_a_dead_driver_is_cleared_away_and_a_living_one_is_not(
    files: MemoryFiles, watcher: Drivers, clock: Clock
) -> None:
    Drivers(files).say("far", FAR)
    watch(watcher, clock, LIFETIME_S - 4)
    watcher.remove_dead()
    assert files.names("drivers") == ["far.json"]
    watch(watcher, clock, 8)
    watcher.remove_dead()
    assert files.names("drivers") == []


def test_a_file_that_cannot_be_read_is_no_driver(files: MemoryFiles, watcher: Drivers) -> None:
    files.content |= {"drivers/torn.json": b"{", "drivers/other.json": b"[]"}
    assert watcher.living() == {}


def test_what_was_seen_is_believed_for_a_while(files: MemoryFiles, clock: Clock) -> None:
    watcher = Drivers(files, LIFETIME_S, recheck_s=2.0, clock=clock)
    assert watcher.living() == {}
    Drivers(files).say("far", FAR)
    assert watcher.living() == {}
    clock.now += 2
    assert watcher.living().keys() == {"far"}


def test_who_looks_but_once_waits_for_a_sign_of_drivers_elsewhere(
    files: MemoryFiles, watcher: Drivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    Drivers(files).say("here", HERE)
    Drivers(files).say("far and dead", FAR)
    Drivers(files).say("far", FAR)
    monkeypatch.setattr(time, "sleep", lambda _: Drivers(files).say("far", FAR))
    assert watcher.seen_alive().keys() == {"here", "far"}


def test_who_looks_but_once_waits_for_nobody_of_this_machine(
    files: MemoryFiles, watcher: Drivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    Drivers(files).say("here", HERE)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waited"))
    assert watcher.seen_alive().keys() == {"here"}


def test_each_of_a_dead_drivers_many_stages_costs_one_read_however_many_drivers_live(
    clock: Clock,
) -> None:
    asked: list[str] = []

    class Counted(MemoryFiles):
        def turn(self) -> None:
            asked.append("")

    files = Counted()
    watcher = Drivers(files, LIFETIME_S, recheck_s=2.0, clock=clock)
    Drivers(files).say("far", FAR)
    for _ in range(int(LIFETIME_S)):
        for living in range(5):
            Drivers(files).say(f"living {living}", FAR)
        watch(watcher, clock, 2)
    asked.clear()
    assert not any(watcher.is_alive("far", FAR) for _ in range(100))
    assert len(asked) <= 100
    Drivers(files).say("far", FAR)
    assert watcher.is_alive("far", FAR), "it has woken up"
