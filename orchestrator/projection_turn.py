"""Which of several drivers of one grid writes it into MLflow: the one that holds a claim on that.

A claim in the store is exact, as a lease kept in MLflow could not be. Knows nothing of MLflow.
"""

import os
import time
import uuid
from contextlib import suppress
from hashlib import sha256

from orchestrator.store.store import Store

LOOK_EVERY_S = 5.0


class StoreTurn:
    """The turn at a projection of a grid, taken and kept by a claim in the store.

    ``what``: names the projection; drivers that give the same take turns.
    """

    def __init__(self, store: Store, what: str, look_every_s: float = LOOK_EVERY_S) -> None:
        self._claims, self._look_every_s = store.claims, look_every_s
        self._key = f"mlflow-{sha256(what.encode()).hexdigest()[:16]}"
        self._owner = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._holder = "nobody yet"
        self._looked_at = float("-inf")

    def holder(self) -> str:
        """Take the turn where it is free; return "" where it is ours now, else who has it.

        The store is asked every ``look_every_s`` seconds. While it gives no answer, the turn stays
        where it was: two writers are better than none.
        """
        if time.monotonic() - self._looked_at >= self._look_every_s:
            self._looked_at = time.monotonic()
            try:
                other = self._claims.take(self._key, self._owner)
            except OSError:
                return self._holder
            self._holder = f"another driver (process {other.pid} on {other.host})" if other else ""
        return self._holder

    def release(self) -> None:
        """Let another driver have the turn, if it is ours."""
        if not self._holder:
            self._holder, self._looked_at = "nobody yet", float("-inf")
            with suppress(OSError):  # then it ends with this driver
                self._claims.release(self._key)
