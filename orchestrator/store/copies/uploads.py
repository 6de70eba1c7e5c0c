"""Folders that are sent to a store in a thread, while their process computes. Knows no store."""

from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from threading import Event, Thread

# Sends a folder until the function that it is given returns True.
Send = Callable[[Path, Callable[[], bool]], None]


class Upload:
    """A folder on its way to a store. Nothing in it may change until that is over."""

    def __init__(self, folder: Path, send: Send) -> None:
        """Begin to ``send`` it, with the patience of the calling thread."""
        self._folder, self._send = folder, send
        self.error: BaseException | None = None
        self._cancelled = Event()
        self._thread = Thread(
            target=copy_context().run, args=(self._run,), name="upload", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        try:
            self._send(self._folder, self._cancelled.is_set)
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        """Wait until all of it is in the store. Raises what went wrong."""
        self._thread.join()
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        """End it as soon as can be, and wait for that. Some of it is in the store then."""
        self._cancelled.set()
        with suppress(BaseException):
            self.finish()
