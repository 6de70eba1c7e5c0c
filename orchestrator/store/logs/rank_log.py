"""The log of one rank of one attempt at a stage: written at its end, and now and then before.

    STAGE/logs/BEGAN-ATTEMPT-00001.txt    the end of what rank 1 has printed; BEGAN: milliseconds

One small file per rank, without credentials. While a rank computes on a local store, what it has
printed is in its report (store/rank_reports.py); elsewhere its log is written again and again.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.redact import redact
from orchestrator.store.files import StoreFolder
from orchestrator.store.patience import hurriedly

LOG_BYTES = 1_000_000  # how much of the end of a rank's output is kept
WRITE_EVERY_S = 30.0  # to an object store, while the rank computes and has printed more
LINE_EVERY_S = 10.0  # how far a stage has come is printed no more often
LOGS = "logs"  # the folder within a stage's


class RankLog:
    """The log of a rank that begins now. ``folder``: that of the stage's logs."""

    def __init__(self, folder: StoreFolder, attempt: str, rank: int = 0) -> None:
        self._folder = folder
        self._name = f"{time.time_ns() // 1_000_000}-{attempt}-{rank:05d}.txt"
        self._written = -1  # bytes of output when it was last written
        self._line_at = time.monotonic()  # when how far it has come was last printed
        self._unsaid = ""

    def print_progress(self, words: str) -> None:
        """Print how far the stage has come, unless that was done just now."""
        self._unsaid = words
        if time.monotonic() - self._line_at >= LINE_EVERY_S:
            self.print_last_progress()

    def print_last_progress(self) -> None:
        """Print the last that was said of how far the stage has come, where it was not printed."""
        if self._unsaid:
            self._line_at = time.monotonic()
            say(f"{time.strftime('%H:%M:%S')} {self._unsaid}")
            self._unsaid = ""

    @contextmanager
    def kept(self, output: Path) -> Iterator[None]:
        """Keep the end of the file ``output``, to which the rank prints meanwhile."""
        over = threading.Event()
        if self._folder.local_path is None:
            writer = threading.Thread(target=self._write_until, args=(output, over), daemon=True)
            writer.start()
        else:
            writer = None
        try:
            yield
        finally:
            over.set()
            if writer is not None:
                writer.join()
            self._write(output)

    def _write_until(self, output: Path, over: threading.Event) -> None:
        while not over.wait(WRITE_EVERY_S):
            self._write(output)

    def _write(self, output: Path) -> None:
        """Write the log where more was printed since; a store that is away or full goes without."""
        with suppress(OSError), hurriedly():
            size = output.stat().st_size
            if size not in (self._written, 0):
                self._folder.write(self._name, redact(end_of(output)).encode())
                self._written = size


def say(line: str) -> None:
    """Print a line of a log, as far as there is room for it.

    It goes to the file descriptor itself: others have put what they like in place of sys.stdout.
    """
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(1, f"{line}\n".encode())


def end_of(path: Path) -> str:
    """Return the last LOG_BYTES of a file as text, without the rest of a line that begins before.

    A single longer line is cut.
    """
    with path.open("rb") as file:
        cut = file.seek(max(0, path.stat().st_size - LOG_BYTES)) > 0
        data = file.read()
    whole = data.partition(b"\n")[2] if cut and b"\n" in data else data
    return whole.decode(errors="replace")
