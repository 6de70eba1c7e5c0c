"""Who may have what room: a reservation, and those that are let in before them."""

import random

import pytest

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.placement.backfill import Backfill
from orchestrator.scheduler.placement.reservation import NOT_KNOWN

CLUSTER = Capacity(99, 8)
SMALL = Layout(gpus=1)
BEHIND = "waits behind a larger stage"


def gang(ranks: int) -> Layout:
    return Layout(ranks=ranks, gpus=1)


def beside_a_gang_that_waits(ends_in_s: float) -> Backfill:
    """Four of eight GPUs are free in so many seconds, and a gang of seven waits for them."""
    room = Backfill(CLUSTER, [(gang(4), ends_in_s)])
    assert isinstance(room.admit([gang(7)], 1000), str)
    return room


def test_a_stage_that_ends_in_time_has_reserved_room_meanwhile() -> None:
    room = beside_a_gang_that_waits(100)
    assert [room.admit([SMALL], 100) for _ in range(4)] == [SMALL] * 4
    assert room.admit([SMALL], 100) == "waits for 1 GPU, 1 CPU"


def test_a_stage_that_would_not_end_in_time_has_only_what_is_beside() -> None:
    room = beside_a_gang_that_waits(100)
    assert [room.admit([SMALL], 101) for _ in range(3)] == [SMALL, BEHIND, BEHIND]
    assert room.admit([SMALL], 99) == SMALL


def test_a_stage_of_unknown_seconds_is_not_let_into_reserved_room() -> None:
    room = beside_a_gang_that_waits(100)
    assert [room.admit([SMALL]) for _ in range(2)] == [SMALL, BEHIND]


def test_none_is_let_into_room_that_is_due_at_any_moment() -> None:
    for unknown_or_overdue in (NOT_KNOWN, 0.0):
        room = beside_a_gang_that_waits(unknown_or_overdue)
        assert [room.admit([SMALL], 1) for _ in range(2)] == [SMALL, BEHIND]


def test_room_is_due_when_enough_have_ended_by_what_is_expected() -> None:
    running = [(gang(4), 500.0), (gang(2), 50.0), (gang(2), 70.0)]
    room = Backfill(CLUSTER, [*running])
    assert isinstance(room.admit([gang(4)], 1000), str)
    assert [room.like(seconds) for seconds in (70, 71)] == [(False, True), (False, False)]


@pytest.mark.parametrize("seed", range(30))
def test_the_first_that_waits_starts_when_it_was_told_if_all_expectations_hold(seed: int) -> None:
    """And nothing starts that does not fit: at no time are more GPUs taken than there are."""
    chance = random.Random(seed)
    waiting = [(gang(chance.choice([1, 1, 2, 3, 5, 8])), chance.randint(1, 99)) for _ in range(60)]
    running: list[tuple[Layout, float]] = []  # and when each ends
    now, due = 0.0, float("inf")  # due: of the first that waits, when it was first told
    while waiting:
        room = Backfill(CLUSTER, [(layout, end - now) for layout, end in running])
        started = []
        for index, (layout, seconds) in enumerate(waiting):
            if room.admit([layout], seconds) == layout:
                started.append(index)
        if started[:1] == [0]:
            assert now <= due, f"{now} after {due}"
            due = float("inf")
        running += [(waiting[index][0], now + waiting[index][1]) for index in started]
        waiting = [each for index, each in enumerate(waiting) if index not in started]
        assert sum(layout.ranks for layout, _ in running) <= CLUSTER.gpus
        if waiting and due == float("inf"):
            due = _told(waiting[0][0], running)
        now = min(end for _, end in running)
        running = [each for each in running if each[1] > now]


def _told(layout: Layout, running: list[tuple[Layout, float]]) -> float:
    """Return when enough have ended for a layout."""
    free = CLUSTER.gpus - sum(each.ranks for each, _ in running)
    for each, end in sorted(running, key=lambda one: one[1]):
        if free >= layout.ranks:
            break
        free, due = free + each.ranks, end
    return due
