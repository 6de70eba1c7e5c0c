"""A call that is waited for no longer than its limit. Knows nothing of what is called."""

import threading
from collections.abc import Callable
from typing import Any


class BoundedCall:
    """A call in a thread of its own, begun when this is made.

    One that hangs is left behind: its thread ends with the process.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._outcome: list[Any] = []
        self._thread = threading.Thread(target=self._run, args=(function, arguments), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            self._outcome.append(function(*arguments))
        except Exception as error:
            self._outcome.append(error)

    def answer(self, timeout_s: float) -> Any:
        """Return what the call returned, or the exception that it raised.

        TimeoutError, returned likewise, where it has not ended ``timeout_s`` seconds from now.
        """
        self._thread.join(timeout_s)
        return self._outcome[0] if self._outcome else TimeoutError("no answer in time")
