"""Reads and writes that are tried again while a store is away. Knows no files."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from trsp.errors import StoreError
from trsp.outages import is_outage

# Before the second and the third attempt: an outage of a second costs nobody anything.
WAITS_S: Sequence[float] = (0.5, 2.0)
# Of a stage's own process, which has hours of work to lose: five minutes in all.
STAGE_WAITS_S: Sequence[float] = (0.5, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0, 60.0)
JITTER = 0.25  # of every wait, up or down: those that a store lost do not all come back at once
_waits_s: ContextVar[Sequence[float] | None] = ContextVar("waits_s", default=None)
_T = TypeVar("_T")


@contextmanager
def stage_patience() -> Iterator[None]:
    """While open, this thread waits as a stage's own process does for a store that is away."""
    token = _waits_s.set(STAGE_WAITS_S)
    try:
        yield
    finally:
        _waits_s.reset(token)


def patiently(work: Callable[[], _T]) -> _T:
    """Return what ``work`` returns, called again while the store gives no answer.

    That is up to three times, or for five minutes within ``stage_patience``. ``work`` must be such
    that doing it twice is as good as once. Raises its last OSError, and at once an OSError that is
    an answer: absent, forbidden, full.
    """
    for wait_s in _waits_s.get() or WAITS_S:
        try:
            return work()
        except OSError as error:
            if not passes(error):
                raise
        time.sleep(jittered(wait_s))
    return work()


def passes(error: OSError) -> bool:
    """Whether an error of the store is an outage: no answer, now."""
    return is_outage(error) and not isinstance(error, StoreError)


def jittered(wait_s: float) -> float:
    """Return a wait of about so many seconds."""
    return wait_s * random.uniform(1 - JITTER, 1 + JITTER)
