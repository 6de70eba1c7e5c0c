"""Stage results as decisions read them: the store behind a memory that asks for nothing twice."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from orchestrator.parallel import at_once
from orchestrator.stages.stage_specs import StageKind
from orchestrator.stages.timings import StageTimings, timings_in
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


class DenseRecord(Record):
    """What a ``dense`` stage leaves: the unpruned model's size and scores."""

    checkpoint: CheckpointRecord
    evaluation: EvaluationRecord


_RECORD_OF: Mapping[str, type[Record]] = {
    StageKind.DENSE: DenseRecord,
    StageKind.TRANSFER: TransferRecord,
    StageKind.PRUNE: CheckpointRecord,
    StageKind.EVALUATE: EvaluationRecord,
    StageKind.MEASURE: MeasurementRecord,
}


class StoreResults:
    """``next_stages.Results`` over a store.

    What stages there are is learned by one listing of each kind of stage: what is not listed is
    absent without a request, and what is listed is read once, whether it is there or not. An answer
    changes only where ``forget``, ``look_at_rankings`` or ``look_for_new_stages`` says so, and
    ``take_changed`` tells of which keys. What cannot be read counts as missing, and ``unreadable``
    says why. Different keys may be asked for from several threads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listed: dict[str, frozenset[str]] = {}  # by kind, the keys that were there
        self._told: set[str] = set()  # keys to be asked for whether they are listed or not
        self._records: dict[str, Record | None] = {}
        self._rounds: dict[str, tuple[RoundRecord, ...]] = {}
        self._asked: set[str] = set()  # rankings whose next round was asked for
        self._dropped: set[str] = set()
        self._uris: dict[str, str | None] = {}
        self._versions: dict[str, dict[str, str]] = {}
        self._timings: dict[str, StageTimings | None] = {}
        self._unreadable: dict[str, str] = {}
        self._failures: dict[str, str] = {}
        self._changed: set[str] = set()

    def order(self, ranking_key: str) -> tuple[int, ...]:
        """The layers removed in the rounds published so far, first removed first."""
        return tuple(record.layer for record in self.rounds(ranking_key))

    def rounds(self, ranking_key: str) -> tuple[RoundRecord, ...]:
        """The rounds published so far."""
        if ranking_key not in self._asked:
            if self._may_be_there(ranking_key):
                self._add_rounds(ranking_key)
            self._asked.add(ranking_key)
        return self._rounds.get(ranking_key, ())

    def done(self, key: str) -> bool:
        """Whether a stage's result is there, whole.

        A stage whose artifacts were dropped (stage two, once its checkpoint is whole) is history,
        not done.
        """
        return self.record(key) is not None and key not in self._dropped

    def record(self, key: str) -> Record | None:
        """A stage's record, also where its artifacts were dropped; None while there is none."""
        if key not in self._records:
            self._records[key] = self._read(key) if self._may_be_there(key) else None
        return self._records[key]

    def unreadable(self, key: str) -> str:
        """Why what the store holds of a stage cannot be used: the file and the cure.

        Empty where nothing is wrong, as far as was looked.
        """
        return self._unreadable.get(key, "")

    def unreadable_of(self, keys: Iterable[str]) -> dict[str, str]:
        """What ``unreadable`` says of each of these stages of which it says anything, by key."""
        return {key: why for key in keys if (why := self.unreadable(key))}

    def checkpoint_uri(self, key: str) -> str | None:
        """The address of the artifacts of a finished stage; None before, and where it has none."""
        return self._uris.get(key) if self.record(key) is not None else None

    def versions(self, key: str) -> dict[str, str]:
        """What a finished stage was computed with, by name; empty before, and where unknown."""
        return self._versions[key] if self.record(key) is not None else {}

    def timings(self, key: str) -> StageTimings | None:
        """Where a finished stage's seconds went; None before, and where that was not kept."""
        return self._timings.get(key) if self.record(key) is not None else None

    def failure(self, key: str) -> str:
        """The last recorded failure in one line; empty where there is none."""
        if key not in self._failures:
            failures = self._store.failures.history(key) if self._may_be_there(key) else ()
            self._failures[key] = failures[-1].line if failures else ""
        return self._failures[key]

    def load(self, keys: Iterable[str]) -> None:
        """Read what is not known of these stages, many at once."""
        wanted = [key for key in dict.fromkeys(keys) if self._is_unknown(key)]
        at_once(self._load, [key for key in wanted if self._may_be_there(key)])

    def forget(self, key: str) -> None:
        """Ask the store about this key, the next time: somebody may have worked on the stage."""
        self._asked.discard(key)
        for known in (self._records, self._uris, self._versions, self._unreadable, self._failures):
            known.pop(key, None)
        self._dropped.discard(key)
        self._told.add(key)
        self._changed.add(key)

    def look_at_rankings(self, keys: Iterable[str]) -> None:
        """Ask for the next round of each of these rankings, which are worked on."""
        keys = list(keys)
        before = {key: len(self.rounds(key)) for key in keys}
        try:
            at_once(self._add_rounds, keys)
        finally:  # some may have been answered where others were not
            self.change(key for key in keys if len(self.rounds(key)) != before[key])

    def look_for_new_stages(self) -> None:
        """List what stages there are: those that were not there before are asked for."""
        for kind in list(self._listed):
            names = self._list(kind)
            for key in names - self._listed[kind]:
                if self._records.get(key) is None:
                    self.forget(key)
            self._listed[kind] = names

    def look_again(self, keys: Iterable[str]) -> None:
        """Ask anew about those of these stages that have begun: they may be done by now."""
        for key in keys:
            if self._may_be_there(key) and self._records.get(key) is None:
                self.forget(key)

    def take_changed(self) -> set[str]:
        """Return the keys about which answers may have changed since this was called last."""
        changed, self._changed = self._changed, set()
        return changed

    def change(self, keys: Iterable[str]) -> None:
        """Say that answers about these keys may have changed."""
        self._changed |= {*keys}

    def _list(self, kind: str) -> frozenset[str]:
        return frozenset(self._store.files.names(f"stages/{kind}"))

    def _may_be_there(self, key: str) -> bool:
        """Whether the store is worth a question about this key."""
        if key in self._told:
            return True
        kind = _kind(key)
        if kind not in self._listed:
            self._listed[kind] = self._list(kind)
        return key in self._listed[kind]

    def _is_unknown(self, key: str) -> bool:
        return key not in (self._asked if _kind(key) == StageKind.RANKING else self._records)

    def _load(self, key: str) -> None:
        if _kind(key) == StageKind.RANKING:
            self.rounds(key)
        else:
            self.record(key)

    def _add_rounds(self, key: str) -> None:
        """Take up the rounds that were published since the last look."""
        known = self._rounds.get(key, ())
        published = self._store.rankings.published(key, start=len(known))
        self._rounds[key] = known + published.rounds
        self._unreadable.pop(key, None)
        if published.unreadable is not None:
            self._unreadable[key] = str(published.unreadable)

    def _read(self, key: str) -> Record | None:
        """Return a stage's record, if there is one, and take up what is said beside it."""
        try:
            stored = self._store.stages.stored(key)
            if stored is None:
                return None
            return self._take_up(key, stored)
        except UnreadableRecordError as error:
            self._unreadable[key] = str(error)
            return None

    def _take_up(self, key: str, stored: Mapping[str, Any]) -> Record:
        """Return the record in a result. UnreadableRecordError: it is not of its kind.

        So whoever is handed a record can rely on it.
        """
        try:
            record = _RECORD_OF[_kind(key)].model_validate(stored["record"])
        except ValidationError as error:
            raise self._store.stages.unreadable(key, what_is_wrong(error)) from error
        if stored.get("dropped", False):
            self._dropped.add(key)
        self._versions[key] = stored.get("versions", {})
        self._timings[key] = timings_in(stored)
        self._uris[key] = self._store.stages.files_uri(key, stored)
        return record


def _kind(key: str) -> str:
    """Return the kind of a stage, which its key begins with."""
    return key.rpartition("-")[0]
