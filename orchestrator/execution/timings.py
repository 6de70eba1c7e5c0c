"""A stopwatch for one attempt at a stage: each second in one phase. Knows no stages."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.stages.timings import Phase


class Stopwatch:
    """Counts the seconds of an attempt's phases. It may be used in one thread at a time.

    Seconds outside all phases, in which others compute in the same process, are not counted.
    """

    def __init__(
        self,
        asked: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``asked``: seconds since the epoch at which the stage was asked for; 0: just now.

        ``clock`` gives seconds from any beginning, ``now`` those since the epoch.
        """
        self._clock = clock
        self.began = now()
        # Clocks of two machines differ: nothing begins before it is asked for.
        self.asked = min(asked or self.began, self.began)
        self._seconds: dict[str, float] = {Phase.START: self.began - self.asked}
        self._inside: list[Phase] = []
        self._since = clock()

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Count the seconds within as this phase's, less those of phases that begin inside it."""
        self._count()
        self._inside.append(phase)
        try:
            yield
        finally:
            self._count()
            self._inside.pop()

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of each phase up to now; those that are still open included."""
        self._count()
        return dict(self._seconds)

    def _count(self) -> None:
        now = self._clock()
        if self._inside:
            phase = self._inside[-1]
            self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._since
        self._since = now
