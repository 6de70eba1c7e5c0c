"""How a process of a stage tells its driver how far it has come, without waiting for anybody.

What is told is the newest alone: a control service that is slow, or away for a while, holds up no
training.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ray.exceptions import RayError

from orchestrator.newest import NewestOnly
from orchestrator.ray_backend.sharing.begun import Sign

_END_LIMIT_S = 2.0  # at the end of a stage, for what is on its way


class ProgressTeller:
    """Tells how far the stages of one process have come, by a thread of its own."""

    def __init__(self, sign: Sign) -> None:
        self._sign = sign
        self._newest: NewestOnly[tuple[str, str]] | None = None
        self._last = ""  # the entry that stands
        self._number = 0

    def tell(self, key: str, words: str) -> None:
        """Say how far the stage of this key has come. Never waits."""
        if self._newest is None:
            self._newest = NewestOnly("progress", self._put, again_s=0.0)
        self._newest.hand((key, words))

    def end(self) -> None:
        """Say no more: what is on its way arrives before this returns, or does not."""
        if self._newest is not None:
            self._newest.end(lambda: None)
            self._newest.has_ended(_END_LIMIT_S)

    def _put(self, said: tuple[str, str]) -> bool:
        self._number += 1
        with suppress(RayError):  # it is news, and will be old before the service answers again
            self._last = self._sign.progress(*said, number=self._number, instead_of=self._last)
        return True


@contextmanager
def progress_of(sign: Sign) -> Iterator[ProgressTeller]:
    """Yield what tells the driver of ``sign`` how far its stages have come, while they compute."""
    teller = ProgressTeller(sign)
    try:
        yield teller
    finally:
        teller.end()
