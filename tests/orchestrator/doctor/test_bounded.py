"""Calls that are waited for no longer than their limit."""

import threading
import time

from orchestrator.doctor.bounded import BoundedCall


def test_an_answer_and_an_error_come_back() -> None:
    assert BoundedCall(max, 1, 2).answer(5) == 2
    assert isinstance(BoundedCall(int, "x").answer(5), ValueError)


def test_a_call_that_hangs_is_left_behind() -> None:
    held = threading.Event()
    call, begun = BoundedCall(held.wait), time.monotonic()
    assert isinstance(call.answer(0.05), TimeoutError)
    assert time.monotonic() - begun < 5
    held.set()
