"""Stage results as decisions read them: the store behind a memory of what can no longer change."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.files import UnreadableRecordError
from orchestrator.store.rankings import what_is_wrong
from orchestrator.store.store import Store
from trsp.records import (
    CheckpointRecord,
    EvaluationRecord,
    MeasurementRecord,
    Record,
    RoundRecord,
    TransferRecord,
)

# How long an absence is believed: on a file system, and in an object store, which is slow to ask.
_RECHECK_LOCAL_S = 0.2
_RECHECK_REMOTE_S = 15.0


class _DenseRecord(Record):
    """What a ``dense`` stage leaves: the unpruned model's size and scores."""

    checkpoint: CheckpointRecord
    evaluation: EvaluationRecord


_RECORD_OF: Mapping[str, type[Record]] = {
    StageKind.DENSE: _DenseRecord,
    StageKind.TRANSFER: TransferRecord,
    StageKind.PRUNE: CheckpointRecord,
    StageKind.EVALUATE: EvaluationRecord,
    StageKind.MEASURE: MeasurementRecord,
}


class StoreResults:
    """``next_stages.Results`` over a store.

    What is there stays there, so only what is missing is asked for again. What cannot be read
    counts as missing, and ``unreadable`` says why. ``recheck_s``: for how many seconds an absence
    is believed; None for what suits the store. Whoever knows better, as of the end of a stage of
    ours, calls ``forget``. ``clock`` gives seconds from any start.
    """

    def __init__(
        self,
        store: Store,
        recheck_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if recheck_s is None:
            recheck_s = _RECHECK_LOCAL_S if store.is_local else _RECHECK_REMOTE_S
        self._store, self._recheck_s, self._clock = store, recheck_s, clock
        self._records: dict[str, dict[str, Any]] = {}
        self._rounds: dict[str, tuple[RoundRecord, ...]] = {}
        self._missed: dict[str, float] = {}  # when the store last had no (more) of a key
        self._dropped: set[str] = set()
        self._uris: dict[str, str | None] = {}
        self._versions: dict[str, dict[str, str]] = {}
        self._unreadable: dict[str, str] = {}

    def order(self, ranking_key: str) -> tuple[int, ...]:
        """The layers removed in the rounds published so far, first removed first."""
        return tuple(record.layer for record in self.rounds(ranking_key))

    def rounds(self, ranking_key: str) -> tuple[RoundRecord, ...]:
        """The rounds published so far."""
        known = self._rounds.get(ranking_key, ())
        if self._due(ranking_key):
            published = self._store.rankings.published(ranking_key, start=len(known))
            known += published.rounds
            self._rounds[ranking_key] = known
            self._miss(ranking_key, published.unreadable)
        return known

    def done(self, key: str) -> bool:
        """Whether a stage's result is there, whole.

        A stage whose artifacts were dropped (stage two, once its checkpoint is whole) is history,
        not done.
        """
        return self.record(key) is not None and key not in self._dropped

    def record(self, key: str) -> dict[str, Any] | None:
        """A stage's record, also where its artifacts were dropped; None while there is none."""
        if key not in self._records and self._due(key):
            try:
                self._read(key)
            except UnreadableRecordError as error:
                self._miss(key, error)
        return self._records.get(key)

    def _read(self, key: str) -> None:
        """Take up a stage's record, if there is one. UnreadableRecordError: it is not of its kind.

        So whoever is handed a record can rely on it.
        """
        stored = self._store.stages.stored(key)
        if stored is None:
            self._miss(key)
            return
        kind = key.rpartition("-")[0]
        try:
            _RECORD_OF[kind].model_validate(stored["record"])
        except ValidationError as error:
            raise self._store.stages.unreadable(key, what_is_wrong(error)) from error
        if stored.get("dropped", False):
            self._dropped.add(key)
        self._records[key], self._versions[key] = stored["record"], stored.get("versions", {})

    def _miss(self, key: str, unreadable: UnreadableRecordError | None = None) -> None:
        """Remember when the store had no (more) of this key, or nothing that can be read."""
        self._missed[key] = self._clock()
        self._unreadable[key] = "" if unreadable is None else str(unreadable)

    def unreadable(self, key: str) -> str:
        """Why what the store holds of a stage cannot be used: the file and the cure.

        Empty where nothing is wrong, as far as was looked.
        """
        return self._unreadable.get(key, "")

    def _due(self, key: str) -> bool:
        """Whether the store is to be asked (again) for what is not known of this key."""
        return key not in self._missed or self._clock() - self._missed[key] >= self._recheck_s

    def forget(self, key: str) -> None:
        """Ask the store again about this key, the next time."""
        self._missed.pop(key, None)
        self._records.pop(key, None)
        self._dropped.discard(key)
        self._uris.pop(key, None)
        self._versions.pop(key, None)
        self._unreadable.pop(key, None)

    def checkpoint_uri(self, key: str) -> str | None:
        """The address of the artifacts of a finished stage; None before, and where it has none."""
        if key not in self._uris and self.record(key) is not None:
            with suppress(UnreadableRecordError):  # it was spoilt since it was read
                self._uris[key] = self._store.stages.files_uri(key)
        return self._uris.get(key)

    def versions(self, key: str) -> dict[str, str]:
        """What a finished stage was computed with, by name; empty before, and where unknown."""
        return self._versions[key] if self.record(key) is not None else {}

    def failure(self, key: str) -> str:
        """The last recorded failure in one line; empty where there is none."""
        failures = self._store.failures.history(key)
        return failures[-1].line if failures else ""
