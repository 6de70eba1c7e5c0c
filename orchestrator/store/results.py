"""Stage results as decisions read them: the store behind a memory of what can no longer change."""

import time
from collections.abc import Callable
from typing import Any

from orchestrator.store.store import Store
from trsp.records import RoundRecord


class StoreResults:
    """``stages.Results`` over a store. What is there stays there, so only what is missing is asked for again.

    ``recheck_s``: how long an absence is believed; our own stages' ends are told to ``forget``.
    """

    def __init__(
        self,
        store: Store,
        recheck_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._recheck_s = (0.2 if store.is_local else 15.0) if recheck_s is None else recheck_s
        self._clock = clock
        self._records: dict[str, dict[str, Any]] = {}
        self._rounds: dict[str, tuple[RoundRecord, ...]] = {}
        self._missed: dict[str, float] = {}
        self._dropped: set[str] = set()
        self._uris: dict[str, str | None] = {}

    def order(self, ranking_key: str) -> tuple[int, ...]:
        return tuple(record.layer for record in self.rounds(ranking_key))

    def rounds(self, ranking_key: str) -> tuple[RoundRecord, ...]:
        known = self._rounds.get(ranking_key, ())
        if self._due(ranking_key):
            known += self._store.rankings.rounds(ranking_key, start=len(known))
            self._rounds[ranking_key] = known
            self._missed[ranking_key] = self._clock()
        return known

    def done(self, key: str) -> bool:
        """A stage whose artifacts were dropped (stage two, once its checkpoint is whole) is history, not done."""
        return self.record(key) is not None and key not in self._dropped

    def record(self, key: str) -> dict[str, Any] | None:
        if key not in self._records and self._due(key):
            found = self._store.stages.result(key)
            if found is None:
                self._missed[key] = self._clock()
            else:
                self._records[key] = found
                if not self._store.stages.done(key):
                    self._dropped.add(key)
        return self._records.get(key)

    def _due(self, key: str) -> bool:
        return key not in self._missed or self._clock() - self._missed[key] >= self._recheck_s

    def forget(self, key: str) -> None:
        """Ask the store again about this key."""
        self._missed.pop(key, None)
        self._records.pop(key, None)
        self._dropped.discard(key)
        self._uris.pop(key, None)

    def checkpoint_uri(self, key: str) -> str | None:
        """Where the artifacts of a finished stage lie; None before."""
        if key not in self._uris and self.record(key) is not None:
            self._uris[key] = self._store.stages.files_uri(key)
        return self._uris.get(key)

    def failure(self, key: str) -> str:
        """The last recorded failure in one line, or nothing."""
        failures = self._store.failures.history(key)
        return failures[-1].line if failures else ""
