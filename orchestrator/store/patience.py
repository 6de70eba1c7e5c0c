"""Reads and writes that are tried again while a store is away. Knows no files."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from orchestrator.redact import redact
from trsp.errors import StoreError, TrspError, UnreachableError
from trsp.outages import is_outage

# Before the second and the third attempt: an outage of a second costs nobody anything.
WAITS_S: Sequence[float] = (0.5, 2.0)
# Of a stage's own process, which has hours of work to lose: five minutes in all.
STAGE_WAITS_S: Sequence[float] = (0.5, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0, 60.0)
# An attempt may take minutes by itself, of a server that is there and says nothing: pyarrow's S3
# client tries for 100 s. Such an attempt is not made again.
ATTEMPTS_S = 10.0
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


@contextmanager
def hurriedly() -> Iterator[None]:
    """While open, this thread tries once more at once, for what may as well be missing."""
    token = _waits_s.set((0.0,))
    try:
        yield
    finally:
        _waits_s.reset(token)


def patiently(work: Callable[[], _T]) -> _T:
    """Return what ``work`` returns, called again while the store gives no answer.

    That is up to three times and for ten seconds, within ``stage_patience`` for five minutes, and
    within ``hurriedly`` twice.
    ``work`` must be such that doing it twice is as good as once. Raises its last OSError, and at
    once an OSError that is an answer: absent, forbidden, full.
    """
    waits_s = _waits_s.get() or WAITS_S
    until = time.monotonic() + max(sum(waits_s), ATTEMPTS_S)
    for wait_s in waits_s:
        try:
            return work()
        except OSError as error:
            if not passes(error) or time.monotonic() >= until:
                raise
        time.sleep(jittered(wait_s))
    return work()


@contextmanager
def in_words(uri: str) -> Iterator[None]:
    """Turn what the store at ``uri`` raises within into an error for people.

    UnreachableError where it gives no answer, StoreError where it refuses. For commands that read
    it once: whoever waits for a store needs its own errors.
    """
    try:
        yield
    except TrspError:
        raise
    except OSError as error:
        away = passes(error)
        kind, came = (UnreachableError, "gives no answer") if away else (StoreError, "fails")
        cure = "try again when it does" if away else "storage.store is to be a place of yours"
        raise kind(redact(f"store {uri!r} {came}: {error}; {cure}")) from error


def passes(error: OSError) -> bool:
    """Whether an error of the store is an outage: no answer, now."""
    return is_outage(error) and not isinstance(error, StoreError)


def jittered(wait_s: float) -> float:
    """Return a wait of about so many seconds."""
    return wait_s * random.uniform(1 - JITTER, 1 + JITTER)
