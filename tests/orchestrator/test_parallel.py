"""Work that is done several at a time."""

import threading
import time

import pytest

from orchestrator.parallel import AT_ONCE, at_once


def test_answers_come_in_the_order_of_the_questions() -> None:
    assert at_once(lambda number: number * 2, range(100)) == [2 * number for number in range(100)]
    assert at_once(str, []) == []


def test_several_are_worked_on_at_a_time() -> None:
    together = threading.Barrier(4, timeout=10)
    assert at_once(lambda _: together.wait() >= 0, range(4)) == [True] * 4


def test_the_error_of_the_first_item_that_has_one_is_raised() -> None:
    def work(number: int) -> None:
        if number % 2:
            raise OSError(f"number {number}")

    with pytest.raises(OSError, match="number 1"):
        at_once(work, range(4))


def test_after_an_error_what_was_not_begun_is_left_alone() -> None:
    """A store that is away is waited for once, and not once per item."""
    begun: list[int] = []

    def away(number: int) -> None:
        begun.append(number)
        time.sleep(0.05)
        raise OSError("the store is away")

    with pytest.raises(OSError, match="away"):
        at_once(away, range(1000))
    assert len(begun) <= 4 * AT_ONCE
    assert at_once(str, range(40)) == [str(number) for number in range(40)], "the threads are free"
