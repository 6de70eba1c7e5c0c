"""A driver's signs of life, given by a thread of its own whatever the driver does meanwhile.

It also knows when the driver may have been thought dead: after a pause, or while the store was
away.
"""

import threading
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from orchestrator.coordination.drivers import SIGNS_PER_LIFETIME, Drivers
from orchestrator.coordination.process import ProcessIdentity


def boot_clock() -> float:
    """Seconds since the machine booted, with those in which it slept, where that is known."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Heartbeat:
    """The signs of life of one driver, from ``begin`` to ``end``."""

    def __init__(
        self,
        drivers: Drivers,
        owner: str,
        clock: Callable[[], float] = boot_clock,
        grid: str = "",
    ) -> None:
        """``grid``: the key of the grid that the driver works on."""
        self._drivers, self._owner, self._clock, self._grid = drivers, owner, clock, grid
        self._process = ProcessIdentity.here()
        self._keys: frozenset[str] = frozenset()
        self._news: Mapping[str, Any] = {}
        self._said = 0.0  # when a sign last reached the store
        self._gaps = 0  # times of silence in which others may have thought us dead
        self._checked = 0  # those after which the driver has looked at what it holds
        self._looked = 0.0  # when it last did
        self._thread: threading.Thread | None = None
        self._changed = threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()  # the sign that is given last is the newest

    def begin(self) -> None:
        """Give the first sign, and go on by itself.

        A later call gives a sign after a pause: whoever wakes up and claims a stage must not be
        taken for dead. Raises OSError where the store cannot be written.
        """
        if self._over.is_set():
            return
        if self._thread is not None:
            if self._clock() - self._said > self._limit_s:
                self.beat()
            return
        self._said = self._clock()
        self._say()
        self._thread = threading.Thread(
            target=_run, args=(weakref.ref(self), self._changed, self._over), daemon=True
        )
        self._thread.start()

    def hold(self, keys: Collection[str]) -> None:
        """Tell the others, soon, which stages this driver holds now; at once where it is none."""
        held = frozenset(keys)
        if held != self._keys:
            self._keys = held
            if held:
                self._changed.set()
            else:
                self.beat()

    def tell(self, news: Mapping[str, Any]) -> None:
        """Let the signs to come carry this news of the driver's work (JSON)."""
        self._news = news

    def end(self) -> None:
        """Give no more signs, and say goodbye, as far as the store can be written."""
        begun = self._thread is not None and not self._over.is_set()
        self._over.set()
        self._changed.set()
        if not begun or self._thread is None:
            return
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)
        with suppress(OSError):
            self._drivers.leave(self._owner)

    def gaps(self) -> int:
        """Return how often others may have thought this driver dead since it was ``checked``."""
        silent_s = self._clock() - max(self._said, self._looked)
        silent = self._thread is not None and silent_s > self._limit_s
        return self._gaps - self._checked + int(silent)

    def checked(self, gaps: int) -> None:
        """Say that what the driver holds was looked at after so many gaps."""
        self._checked = min(self._gaps, self._checked + gaps)
        self._looked = self._clock()

    def _say(self) -> None:
        self._drivers.say(self._owner, self._process, self._keys, self._grid, self._news)

    def beat(self) -> None:
        """Give a sign of life, as far as the store can be written."""
        with suppress(OSError), self._lock:
            self._say()
            now = self._clock()
            self._gaps += int(now - self._said > self._limit_s)
            self._said = now

    @property
    def period_s(self) -> float:
        """Seconds between two signs."""
        return self._drivers.lifetime_s / SIGNS_PER_LIFETIME

    @property
    def _limit_s(self) -> float:
        """A silence that is longer may be taken for death by somebody."""
        return self._drivers.lifetime_s / 2


def _run(
    beating: "weakref.ref[Heartbeat]", changed: threading.Event, over: threading.Event
) -> None:
    """Give signs until it is over, or nobody has the heartbeat any more."""
    while not over.is_set():
        heartbeat = beating()
        if heartbeat is None:
            return
        period_s = heartbeat.period_s
        del heartbeat
        changed.wait(period_s)
        changed.clear()
        heartbeat = beating()
        if heartbeat is None or over.is_set():
            return
        heartbeat.beat()
        del heartbeat
        over.wait(period_s / 6)  # what is claimed in one go is told in one go
