"""Whether this process will soon be ended from outside: by SIGTERM, or because its node is taken away. Runs in Ray's workers.

Ray Train's own notice of a draining node is a barrier of all ranks and needs an actor a gang; this asks where that asks.
"""

import signal
import threading
import time
from types import FrameType

import ray
from ray._private.state import state

DRAIN_POLL_S = 5.0


class PreemptionNotice:
    """``leaving`` is for loops that can stop between two steps. Processes that never ask it end by SIGTERM, as ever."""

    def __init__(self) -> None:
        self._told = self._asked = False
        self._node = ray.get_runtime_context().get_node_id()
        self._polled = float("-inf")
        self._ends = signal.getsignal(signal.SIGTERM)

    def install(self) -> None:
        """In the main thread, for only there signals are handled."""
        assert threading.current_thread() is threading.main_thread()
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def leaving(self) -> bool:
        """Whether this process was told to go. Cheap: to be asked at every step."""
        self._asked = True
        if not self._told and time.monotonic() - self._polled > DRAIN_POLL_S:
            self._told = self._node in draining_nodes()
            self._polled = time.monotonic()
        return self._told

    def over(self) -> None:
        """Nobody will ask any more: SIGTERM ends the process again."""
        self._asked = False

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._told = True
        if not self._asked and callable(self._ends):
            self._ends(number, frame)


def draining_nodes() -> set[str]:
    """Ids of the nodes that are about to be taken away. (Ray has no public way to ask; its own trainer asks so.)"""
    return set(state.get_draining_nodes())
