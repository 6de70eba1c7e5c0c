"""Ends a process whose training makes no steps any more. Knows no training, store or cluster.

A collective whose peer is gone, or a read from a dead file system, cannot be interrupted from
Python: only ended.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

EXIT_CODE = 1
RECORDING_LIMIT_S = 20.0  # what is recorded may be on its way to the very file system that hangs


class Watchdog:
    """Ends this process ``limit_s`` seconds after the last ``beat``; the first one starts it.

    Before that, ``record`` gets the stacks of all threads.
    """

    def __init__(self, limit_s: float, record: Callable[[str], None]) -> None:
        self._limit_s, self._record = limit_s, record
        self._last = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def beat(self) -> None:
        """Tell that all is well. Cheap: to be called at every step."""
        self._last = time.monotonic()
        if self._thread is None and not self._over.is_set():
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Watch no longer, for what was watched is over; later beats mean nothing."""
        self._over.set()

    def _watch(self) -> None:
        """Wait until no beat has come for the limit, record and end the process; or return."""
        while (left_s := self._last + self._limit_s - time.monotonic()) > 0:
            if self._over.wait(left_s):
                return
        recording = threading.Thread(target=self._record, args=(stacks(),), daemon=True)
        recording.start()
        recording.join(RECORDING_LIMIT_S)
        os._exit(EXIT_CODE)


def stacks() -> str:
    """Where every thread of this process is now, but for the calling one."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    calling = threading.get_ident()
    return "\n".join(
        f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
        if ident != calling
    )
