"""Work in a thread of its own: the newest item counts, nobody waits, and the end has a limit."""

import logging
import threading

import pytest

from orchestrator.newest import NewestOnly

LONG_S = 20.0  # nothing here takes so long


class Work:
    """Notes what it is called with. It is held up while ``free`` is not set."""

    def __init__(self, finishes: bool = True) -> None:
        self.seen: list[int] = []
        self.finishes = finishes
        self.free = threading.Event()
        self.free.set()
        self.called = threading.Semaphore(0)

    def __call__(self, item: int) -> bool:
        self.seen.append(item)
        self.called.release()
        self.free.wait(LONG_S)
        return self.finishes


def test_what_it_has_not_come_to_is_replaced_by_what_is_newer() -> None:
    work = Work()
    work.free.clear()
    thread = NewestOnly("test", work, again_s=LONG_S)
    thread.hand(0)
    assert work.called.acquire(timeout=LONG_S)
    for item in range(1, 100):
        thread.hand(item)
    work.free.set()
    assert work.called.acquire(timeout=LONG_S)
    thread.end(lambda: None)
    assert thread.has_ended(LONG_S)
    assert work.seen == [0, 99]


def test_work_that_has_not_finished_is_called_again() -> None:
    work = Work(finishes=False)
    thread = NewestOnly("test", work, again_s=0.01)
    thread.hand(7)
    for _ in range(3):
        assert work.called.acquire(timeout=LONG_S)
    thread.end(lambda: None)
    assert thread.has_ended(LONG_S)
    assert set(work.seen) == {7}


def test_the_end_comes_after_the_present_item() -> None:
    work = Work()
    thread = NewestOnly("test", work, again_s=LONG_S)
    thread.hand(1)
    assert work.called.acquire(timeout=LONG_S)
    thread.end(lambda: work.seen.append(-1))
    assert thread.has_ended(LONG_S)
    assert work.seen == [1, -1]


def test_an_end_without_any_item_calls_only_the_last() -> None:
    work = Work()
    thread = NewestOnly("test", work, again_s=LONG_S)
    thread.end(lambda: work.seen.append(-1))
    assert thread.has_ended(LONG_S)
    assert work.seen == [-1]


def test_nobody_waits_for_work_that_hangs_longer_than_the_limit() -> None:
    work = Work()
    work.free.clear()
    thread = NewestOnly("test", work, again_s=LONG_S)
    thread.hand(1)
    assert work.called.acquire(timeout=LONG_S)
    thread.end(lambda: None)
    assert not thread.has_ended(0.01)
    work.free.set()


def test_what_the_last_call_raises_comes_to_whoever_waits() -> None:
    def last() -> None:
        raise OSError("away")

    thread = NewestOnly("test", Work(), again_s=LONG_S)
    thread.end(last)
    with pytest.raises(OSError, match="away"):
        thread.has_ended(LONG_S)


def test_work_that_raises_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    calls = threading.Semaphore(0)

    def work(_: int) -> bool:
        calls.release()
        raise KeyError("ours")

    with caplog.at_level(logging.ERROR):
        thread = NewestOnly("test", work, again_s=0.01)
        thread.hand(1)
        for _ in range(2):
            assert calls.acquire(timeout=LONG_S)
        thread.end(lambda: None)
        assert thread.has_ended(LONG_S)
    assert "test failed; it is tried again" in caplog.text
