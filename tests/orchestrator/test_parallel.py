"""Work that is done several at a time."""

import threading

import pytest

from orchestrator.parallel import at_once


def test_answers_come_in_the_order_of_the_questions() -> None:
    assert at_once(lambda number: number * 2, range(100)) == [2 * number for number in range(100)]
    assert at_once(str, []) == []


def test_several_are_worked_on_at_a_time() -> None:
    together = threading.Barrier(4, timeout=10)
    assert at_once(lambda _: together.wait() >= 0, range(4)) == [True] * 4


def test_an_error_keeps_no_other_from_being_worked_on() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number in (3, 5):
            raise OSError(f"number {number}")
        done.append(number)

    with pytest.raises(OSError, match="number 3"):
        at_once(work, range(8))
    assert sorted(done) == [0, 1, 2, 4, 6, 7]
