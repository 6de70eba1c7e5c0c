"""Calls that a thread makes while the training goes on. Knows nothing of what they do."""

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import TypeVar

_T = TypeVar("_T")


def beside(call: Callable[[], _T]) -> Future[_T]:
    """Begin ``call`` in a thread, and return what will hold its result, or what it raised.

    It sees this thread's context variables. A process that ends does not wait for it: what hangs in
    a dead file system holds nobody up.
    """
    outcome: Future[_T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=copy_context().run, args=(run,), name="beside", daemon=True).start()
    return outcome


def done(value: _T) -> Future[_T]:
    """Return what holds ``value`` as a result that is there already."""
    outcome: Future[_T] = Future()
    outcome.set_result(value)
    return outcome
