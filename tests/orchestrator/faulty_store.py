"""A store that gives no answer when it is told to: for this process, not for its stages."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest

from orchestrator.execution.launcher import Finished
from orchestrator.store import patience
from orchestrator.store.files import StoreFiles, StoreFolder
from tests.orchestrator.fake_launcher import FakeLauncher

CALLS = {
    StoreFiles: ("write", "read", "names", "remove_file", "remove_folder", "upload", "download"),
    StoreFolder: ("names", "size", "read", "write", "open", "create", "remove"),
}


class Faults:
    """Whether requests fail: all of them while it is ``away``, else one of ``every`` so many."""

    def __init__(self) -> None:
        self.away = False
        self.every = 0
        self.error: OSError = OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        self.failed = 0  # requests so far
        self._asked = 0
        self._none = False

    def request(self) -> None:
        """Take up a request; raise the error where it fails."""
        if self._none:
            return
        self._asked += 1
        if self.away or (self.every and self._asked % self.every == 0):
            self.failed += 1
            raise self.error

    @contextmanager
    def none(self) -> Iterator[None]:
        """While open, requests are those of other processes, which the store answers."""
        before, self._none = self._none, True
        try:
            yield
        finally:
            self._none = before


def inject(patch: pytest.MonkeyPatch) -> Faults:
    """Put the faults before every request of a store, and let nobody wait for the next attempt."""
    faults = Faults()

    def faulty(work: Any) -> Any:
        @wraps(work)
        def run(*args: Any, **kwargs: Any) -> Any:
            faults.request()
            return work(*args, **kwargs)

        return run

    for owner, names in CALLS.items():
        for name in names:
            patch.setattr(owner, name, faulty(getattr(owner, name)))
    patch.setattr(patience, "WAITS_S", (0.0, 0.0))
    return faults


class ElsewhereLauncher(FakeLauncher):
    """A launcher whose stages reach the store, whatever its driver's faults."""

    def __init__(self, faults: Faults, **settings: Any) -> None:
        super().__init__(**settings)
        self._faults = faults

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        with self._faults.none():
            return super().poll(wait_s)
