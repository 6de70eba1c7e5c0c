"""From the store to a view of the grid. Reads only; remembers nothing but what can no longer change."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from orchestrator.cells import Cell, ModelInfo, Study
from orchestrator.resolve import Resolved
from orchestrator.stages import (
    Done,
    Kind,
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    next_dense_stage,
    next_stage,
    rank_spec,
    selection,
)
from orchestrator.store import Store
from orchestrator.views import CellView, DenseView, GridView, RankView, Status
from trsp.records import CheckpointRecord, EvaluationRecord, MeasurementRecord, Record, RoundRecord, TransferRecord

RecordT = TypeVar("RecordT", bound=Record)


class StoreResults:
    """``stages.Results`` over a store. What is there stays there, so only what is missing is asked for again.

    ``recheck_s``: how long an absence is believed; our own stages' ends are told to ``forget``.
    """

    def __init__(self, store: Store, recheck_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._recheck_s = (0.2 if store.is_local else 15.0) if recheck_s is None else recheck_s
        self._clock = clock
        self._records: dict[str, dict[str, Any]] = {}
        self._rounds: dict[str, tuple[RoundRecord, ...]] = {}
        self._missed: dict[str, float] = {}
        self._dropped: set[str] = set()
        self._uris: dict[str, str | None] = {}

    def order(self, rank_key: str) -> tuple[int, ...]:
        return tuple(record.layer for record in self.rounds(rank_key))

    def rounds(self, rank_key: str) -> tuple[RoundRecord, ...]:
        known = self._rounds.get(rank_key, ())
        if self._due(rank_key):
            known += self._store.rounds(rank_key, start=len(known))
            self._rounds[rank_key] = known
            self._missed[rank_key] = self._clock()
        return known

    def done(self, key: str) -> bool:
        """A stage whose artifacts were dropped (stage two, once its checkpoint is whole) is history, not done."""
        return self.record(key) is not None and key not in self._dropped

    def record(self, key: str) -> dict[str, Any] | None:
        if key not in self._records and self._due(key):
            found = self._store.result(key)
            if found is None:
                self._missed[key] = self._clock()
            else:
                self._records[key] = found
                if not self._store.done(key):
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
            self._uris[key] = self._store.files_uri(key)
        return self._uris.get(key)

    def failure(self, key: str) -> str:
        """The last recorded failure in one line, or nothing."""
        failures = self._store.failures(key)
        return failures[-1].line if failures else ""


def next_stages(resolved: Resolved, results: StoreResults) -> Iterator[StageSpec]:
    """What every reference and cell that is not done needs next; equal stages as often as they are needed."""
    study = resolved.study
    for needed in (
        *(next_dense_stage(model, study, results) for model in resolved.models.values()),
        *(next_stage(cell, study, results) for cell in resolved.cells),
    ):
        if not isinstance(needed, Done):
            yield needed


@dataclass(frozen=True)
class Activity:
    """What a driver is doing: stages that run, why others wait, and those it has given up with the reason.

    ``notes``: of those that run, what is out of the ordinary.
    """

    running: Mapping[str, Kind] = field(default_factory=dict)
    waits: Mapping[str, str] = field(default_factory=dict)
    given_up: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    live: bool = False  # False: nobody is at work, and what has failed before counts as failed


def look(resolved: Resolved, results: StoreResults, activity: Activity = Activity()) -> GridView:
    """The grid as it stands."""
    study = resolved.study
    cells = tuple(_cell_view(cell, study, results, activity) for cell in resolved.cells)
    ranks = _rank_views(resolved.cells, study, results, activity)
    dense = tuple(_dense_view(model, study, results, activity) for model in resolved.models.values())
    view = GridView(
        key=resolved.key,
        name=resolved.grid.name,
        cells=cells,
        ranks=ranks,
        dense=dense,
        settings=resolved.grid.model_dump(mode="json"),
    )
    done = all(part.status is Status.DONE for part in view.parts)
    return replace(view, status=Status.DONE if done else Status.RUNNING if activity.live else Status.WAITING)


def _status(needed: StageSpec | Done, results: StoreResults, activity: Activity) -> tuple[Status, str, str]:
    """Status, stage and reason of whoever needs this stage next."""
    if isinstance(needed, Done):
        return Status.DONE, "", ""
    if needed.key in activity.given_up:
        return Status.FAILED, needed.kind, activity.given_up[needed.key]
    if needed.key in activity.running:
        return Status.RUNNING, needed.kind, activity.notes.get(needed.key, "")
    if not activity.live and (failure := results.failure(needed.key)):
        return Status.FAILED, needed.kind, failure
    return Status.WAITING, needed.kind, activity.waits.get(needed.key, "")


def _record(results: StoreResults, keys: Mapping[str, str], kind: Kind, type_: type[RecordT]) -> RecordT | None:
    found = results.record(keys[kind]) if kind in keys else None
    return type_.model_validate(found) if found else None


def _cell_view(cell: Cell, study: Study, results: StoreResults, activity: Activity) -> CellView:
    rank = rank_spec(cell, study)
    layers = selection(cell, study, results)
    stages = cell_stages(cell, study, layers) if layers else ()
    keys = {str(stage.kind): stage.key for stage in (rank, *stages)}
    status, stage, reason = _status(next_stage(cell, study, results), results, activity)
    if stage == Kind.RANK and (status is Status.RUNNING or not reason):
        reason = f"round {len(results.order(rank.key))} of {cell.removed}{f'; {reason}' if reason else ''}"
    view = CellView(
        cell=cell,
        rank_key=rank.key,
        status=status,
        stage=stage,
        reason=reason,
        layers=layers,
        stage_keys=keys,
        transfer=_record(results, keys, Kind.TRANSFER, TransferRecord),
        checkpoint=_record(results, keys, Kind.PRUNE, CheckpointRecord),
        checkpoint_uri=results.checkpoint_uri(keys[Kind.PRUNE]) if Kind.PRUNE in keys else None,
        evaluation=_record(results, keys, Kind.EVALUATE, EvaluationRecord),
        measurement=_record(results, keys, Kind.MEASURE, MeasurementRecord),
        seconds={kind: found["seconds"] for kind, key in keys.items() if (found := results.record(key))},
    )
    return view


def _rank_views(cells: Sequence[Cell], study: Study, results: StoreResults, activity: Activity) -> tuple[RankView, ...]:
    """One view a ranking, with the cells that share it and the depth that the deepest of them wants."""
    sharing: dict[str, list[Cell]] = {}
    for cell in cells:
        sharing.setdefault(rank_spec(cell, study).key, []).append(cell)
    return tuple(_rank_view(key, users, study, results, activity) for key, users in sharing.items())


def _rank_view(key: str, users: Sequence[Cell], study: Study, results: StoreResults, activity: Activity) -> RankView:
    first, depth = users[0], max(cell.removed for cell in users)
    rounds = results.rounds(key)
    needed = Done() if len(rounds) >= depth else rank_spec(first, study)
    status, _, reason = _status(needed, results, activity)
    strength = () if first.gate_l1 is None else (f"l1={first.gate_l1:g}",)
    seed = (f"seed={first.seed}",) if first.seed else ()
    return RankView(
        key=key,
        name=" ".join((first.model.name, first.selector_label or first.selector.name, *strength, *seed)),
        model=first.model.name,
        selector=first.selector_label or first.selector.name,
        gate_l1=first.gate_l1,
        seed=first.seed,
        depth=depth,
        rounds=rounds,
        cells=tuple(cell.key for cell in users),
        status=status,
        reason=reason,
    )


def _dense_view(model: ModelInfo, study: Study, results: StoreResults, activity: Activity) -> DenseView:
    status, _, reason = _status(next_dense_stage(model, study, results), results, activity)
    dense = results.record(dense_spec(model, study).key)
    measure = measure_spec(model, study, ())
    measured = results.record(measure.key) if measure else None
    return DenseView(
        model=model,
        status=status,
        reason=reason,
        checkpoint=CheckpointRecord.model_validate(dense["checkpoint"]) if dense else None,
        evaluation=EvaluationRecord.model_validate(dense["evaluation"]) if dense else None,
        measurement=MeasurementRecord.model_validate(measured) if measured else None,
    )
