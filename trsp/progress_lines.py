"""How far a long call has come, in lines on stderr: for whoever waits for one, and nobody else.

``LanguageModel`` opens ``showing`` around its calls; the loops within say ``tick``. Where nothing
is open, as in stages of a grid, a tick costs a look at a variable and prints nothing.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from trsp.distributed.collectives import rank

EVERY_S = 10.0  # nothing is printed before so many seconds, nor more often


class _Lines:
    """The lines of one call. ``clock`` gives seconds."""

    def __init__(self, what: str, clock: Callable[[], float]) -> None:
        self._what, self._clock = what, clock
        self._begun = self._printed = clock()

    def tick(self, done: int, total: int) -> None:
        now = self._clock()
        if now - self._printed >= EVERY_S:
            self._printed = now
            elapsed = f"{now - self._begun:.0f} s"
            print(f"{self._what}: {done} of {total}, {elapsed}", file=sys.stderr, flush=True)


_lines: ContextVar[_Lines | None] = ContextVar("lines", default=None)


@contextmanager
def showing(what: str, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """While open, ticks print how far ``what`` has come, once it takes longer than EVERY_S.

    Of several ranks, the first prints.
    """
    token = _lines.set(_Lines(what, clock) if rank() == 0 else None)
    try:
        yield
    finally:
        _lines.reset(token)


def tick(done: int, total: int) -> None:
    """Say that ``done`` of ``total`` equal pieces of work are behind us."""
    lines = _lines.get()
    if lines is not None:
        lines.tick(done, total)
