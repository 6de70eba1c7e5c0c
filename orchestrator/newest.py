"""Work in a thread of its own for the newest of what it is handed. Knows nothing of what that is.

A driver must not wait for those whom it only tells: what they have not come to when something newer
arrives is dropped, so that nothing queues.
"""

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger(__name__)
Item = TypeVar("Item")


class NewestOnly(Generic[Item]):
    """A thread that calls ``work`` with the newest item that it was handed.

    ``work`` returns whether it has finished with that item; where not, or where it raises (which is
    logged), it is called with the newest item again after ``again_s`` seconds. ``name``: the
    thread's. It does not keep the process from ending.
    """

    def __init__(self, name: str, work: Callable[[Item], bool], again_s: float) -> None:
        self._name, self._work, self._again_s = name, work, again_s
        self._changed = threading.Condition()
        self._new: list[Item] = []  # none or one, that work has not been called with
        self._last: Callable[[], None] | None = None
        self._error: Exception | None = None  # of ``_last``
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def hand(self, item: Item) -> None:
        """Let the thread work on this item next, in place of one that it has not come to."""
        with self._changed:
            self._new[:] = [item]
            self._changed.notify()

    def end(self, last: Callable[[], None]) -> None:
        """Let the thread call ``last`` once it has done with its present item, and then end.

        Items that it has not come to are dropped. Never waits.
        """
        with self._changed:
            self._last = last
            self._changed.notify()

    def has_ended(self, limit_s: float) -> bool:
        """Wait for the end; return whether it came within ``limit_s`` seconds.

        Where not, the thread goes on for as long as the process does. Raises what ``last`` raised.
        """
        self._thread.join(limit_s)
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Work until the end."""
        newest: list[Item] = []
        finished = True
        while (last := self._wait(None if finished else self._again_s)) is None:
            with self._changed:
                newest = self._new or newest
                self._new = []
            finished = self._finishes(newest[0])
        try:
            last()
        except Exception as error:
            self._error = error

    def _wait(self, limit_s: float | None) -> Callable[[], None] | None:
        """Wait for something new, at most ``limit_s`` seconds; return what is to be called last."""
        with self._changed:
            self._changed.wait_for(lambda: self._new or self._last, limit_s)
            return self._last

    def _finishes(self, item: Item) -> bool:
        """Call the work; return whether it has finished with the item."""
        try:
            return self._work(item)
        except Exception:  # ours to mend; the driver's grid is not to end for it
            log.exception("%s failed; it is tried again", self._name)
            return False
