"""Which of several drivers of one grid writes it into MLflow: the one that holds a claim on that.

A claim in the store is exact, as a lease kept in MLflow could not be. Knows nothing of MLflow.
"""

import time
from contextlib import suppress
from hashlib import sha256

from orchestrator.scheduler.holdings import Holdings
from orchestrator.store.claims import Held, Standing
from orchestrator.store.store import Store

LOOK_EVERY_S = 5.0


class StoreTurn:
    """The turn at a projection of a grid, taken and kept by a claim in the store.

    ``what``: names the projection; drivers that give the same take turns.
    """

    def __init__(self, store: Store, what: str, look_every_s: float = LOOK_EVERY_S) -> None:
        self._claims, self._look_every_s = store.claims, look_every_s
        self._key = f"mlflow-{sha256(what.encode()).hexdigest()[:16]}"
        self._holdings = Holdings(store.claims)
        self._holder = "nobody yet"
        self._looked_at = float("-inf")

    def holder(self) -> str:
        """Take the turn where it is free; return "" where it is ours now, else who has it.

        The store is asked every ``look_every_s`` seconds. While it gives no answer, the turn stays
        where it was: two writers are better than none.
        """
        if time.monotonic() - self._looked_at >= self._look_every_s:
            self._looked_at = time.monotonic()
            if self._holdings.standing(self._key) is not Standing.HELD:
                with suppress(OSError):
                    taken = self._holdings.take(self._key)
                    self._holder = taken.text if isinstance(taken, Held) else ""
        return self._holder

    def release(self) -> None:
        """Let another driver have the turn, if it is ours."""
        if not self._holder:
            self._holder, self._looked_at = "nobody yet", float("-inf")
            self._holdings.release(self._key)
        self._holdings.close()
        self._holdings = Holdings(self._claims)
