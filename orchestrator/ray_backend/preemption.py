"""Whether this process will soon be ended from outside: by SIGTERM, or because its node goes.

Runs in Ray's workers. Ray Train's own notice of a draining node is a barrier of all ranks and needs
one actor per gang; this one looks where that one looks.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import ray
from ray._private.state import state

DRAIN_POLL_S = 5.0


class PreemptionNotice:
    """What tells a loop that can stop between two steps, by ``leaving``, that its process must go.

    It is the process's handler of SIGTERM. A process that never asks it ends by SIGTERM, as ever.
    """

    def __init__(self) -> None:
        self._preempted = self._watched = False
        self._node = ray.get_runtime_context().get_node_id()
        self._polled = float("-inf")  # when draining nodes were asked for, by the monotonic clock
        self._previous_handler = signal.getsignal(signal.SIGTERM)

    def install(self) -> None:
        """Handle SIGTERM from now on. In the main thread, for only there handlers can be set."""
        assert threading.current_thread() is threading.main_thread()
        signal.signal(signal.SIGTERM, self)

    @contextmanager
    def installed_meanwhile(self) -> Iterator["PreemptionNotice"]:
        """Handle SIGTERM while open; then it is what it was, for another stage of this process."""
        self.install()
        try:
            yield self
        finally:
            self.over()
            signal.signal(signal.SIGTERM, self._previous_handler)

    @staticmethod
    def installed() -> "PreemptionNotice":
        """Return the notice that handles this process's SIGTERM, from any thread.

        Ray Train calls a rank's process twice, first in its main thread and then in another with
        the stage, and can hand nothing from one call to the other. What both share is the process,
        whose table of signal handlers holds the notice.
        """
        notice = signal.getsignal(signal.SIGTERM)
        assert isinstance(notice, PreemptionNotice)
        return notice

    def leaving(self) -> bool:
        """Whether this process was told to go. Cheap: to be asked at every step."""
        self._watched = True
        if not self._preempted and time.monotonic() - self._polled > DRAIN_POLL_S:
            self._preempted = self._node in draining_nodes()
            self._polled = time.monotonic()
        return self._preempted

    def over(self) -> None:
        """Nobody will ask any more: SIGTERM ends the process again."""
        self._watched = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note a SIGTERM; where nobody asks for it, do what the handler before this one did."""
        self._preempted = True
        if not self._watched and callable(self._previous_handler):
            self._previous_handler(number, frame)


def draining_nodes() -> set[str]:
    """Return the ids of the nodes that are about to be taken away.

    Ray has no public way to ask; its own trainer asks like this.
    """
    return set(state.get_draining_nodes())
