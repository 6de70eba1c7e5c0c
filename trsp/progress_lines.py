"""How far a long call has come: in lines for whoever waits for one, in words for whoever asks.

``LanguageModel`` opens ``showing`` around its calls, a stage of a grid ``telling`` around its work;
the loops within say ``tick``. Where nothing is open, a tick costs a look at a variable.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

EVERY_S = 10.0  # no line is printed before so many seconds, nor more often
TELL_EVERY_S = 2.0  # nor is anybody told more often, but of the beginning and the end


@dataclass(frozen=True)
class Pieces:
    """``done`` of ``total`` equal pieces of work are behind us."""

    done: int
    total: int
    unit: str  # "step", "window", "candidate"
    loss: float | None = None  # of the last piece, in nats per token
    within: str = ""  # which part of a longer work this is: "round 3 of 9"

    @property
    def text(self) -> str:
        """It in words: ``round 3 of 9, step 12 of 20, loss 2.713``."""
        loss = "" if self.loss is None else f"loss {self.loss:.4g}"
        pieces = f"{self.unit} {self.done} of {self.total}"
        return ", ".join(filter(None, (self.within, pieces, loss)))


class _Listener(Protocol):
    """One who is told after every piece."""

    def hear(self, pieces: Pieces) -> None: ...


class _Lines:
    """The lines of one call, on stderr. ``clock`` gives seconds."""

    def __init__(self, what: str, clock: Callable[[], float]) -> None:
        self._what, self._clock = what, clock
        self._begun = self._printed = clock()

    def hear(self, pieces: Pieces) -> None:
        now = self._clock()
        if now - self._printed >= EVERY_S:
            self._printed = now
            elapsed = f"{now - self._begun:.0f} s"
            print(f"{self._what}: {pieces.text}, {elapsed}", file=sys.stderr, flush=True)


class _Words:
    """Hands the words on, now and then. ``clock`` gives seconds."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._tell, self._clock = tell, clock
        self._told = float("-inf")

    def hear(self, pieces: Pieces) -> None:
        now = self._clock()
        if now - self._told >= TELL_EVERY_S or pieces.done == pieces.total:
            self._told = now
            self._tell(pieces.text)


_listener: ContextVar[_Listener | None] = ContextVar("listener", default=None)
_within: ContextVar[str] = ContextVar("within", default="")


@contextmanager
def showing(what: str, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """While open, ticks print how far ``what`` has come, once it takes longer than EVERY_S.

    Of several ranks, the first prints.
    """
    from trsp.distributed.collectives import rank  # loads torch

    with _listening(_Lines(what, clock) if rank() == 0 else None):
        yield


@contextmanager
def telling(
    tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """While open, ``tell`` is called with how far the work has come, at most every TELL_EVERY_S.

    It is called in the thread that ticks.
    """
    with _listening(_Words(tell, clock)):
        yield


@contextmanager
def _listening(listener: _Listener | None) -> Iterator[None]:
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def part_of(whole: str) -> Iterator[None]:
    """While open, the words of ticks begin with ``whole``: the part that the loops within are."""
    token = _within.set(whole)
    try:
        yield
    finally:
        _within.reset(token)


def tick(
    done: int, total: int, unit: str = "step", *, loss: float | None = None, within: str = ""
) -> None:
    """Say that ``done`` of ``total`` equal pieces of work are behind us, each a ``unit``.

    ``loss``: of the last of them, in nats per token. ``within``: of which part all of them are.
    """
    listener = _listener.get()
    if listener is not None:
        within = ", ".join(filter(None, (_within.get(), within)))
        listener.hear(Pieces(done, total, unit, loss, within))
