"""Every part of a grid as the store has it, made anew only where what it rests on has changed.

A part is a cell, an unpruned model or a ranking. It is a pure function of what ``StoreResults``
says of the keys that it rests on, so it stands until ``take_changed`` names one. Knows no driver.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestrator.grid.cells import ModelInfo
from orchestrator.stages.next_stages import Done, first_needed_stage, next_dense_stage
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    ranking_spec,
)
from orchestrator.store.results import DenseRecord, StoreResults
from orchestrator.views.grid_view import CellView, DenseView, RankingView, Status
from orchestrator.views.stage_facts import rate_scales, worked
from trsp.records import (
    CheckpointRecord,
    EvaluationRecord,
    MeasurementRecord,
    Record,
    TransferRecord,
)

PartView = TypeVar("PartView", CellView, DenseView, RankingView)
RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True)
class Part(Generic[PartView]):
    """A part of a grid. ``view``: WAITING and without a reason, whatever is done about it."""

    view: PartView
    needed: StageSpec | Done  # the stage that it needs next
    keys: tuple[str, ...]  # of all stages that it rests on
    progress: str = ""  # of its ranking, where that is what it needs


class GridParts:
    """The parts of one grid: ``dense``, ``rankings`` and ``cells``, each in the grid's order.

    They are those of the last ``update``. Of one ``StoreResults`` there may be one of these.
    """

    def __init__(self, resolved: Resolved, results: StoreResults) -> None:
        self.resolved, self.results = resolved, results
        study = resolved.study
        self._models = tuple(resolved.models.values())
        self.ranked_by = [ranking_spec(cell, study) for cell in resolved.cells]
        self._users: dict[str, list[int]] = {}  # by a ranking's key, the cells that share it
        for index, spec in enumerate(self.ranked_by):
            self._users.setdefault(spec.key, []).append(index)
        self._stages: dict[int, tuple[tuple[int, ...], tuple[StageSpec, ...]]] = {}
        self.following: dict[str, tuple[StageSpec, ...]] = {}  # those after a stage, by its key
        self._dependents: dict[str, set[tuple[str, int]]] = {}
        self._begun = False
        self._needs: tuple[StageSpec, ...] | None = None
        self.dense: list[Part[DenseView]] = []
        self.rankings: list[Part[RankingView]] = []
        self.cells: list[Part[CellView]] = []

    @property
    def needs(self) -> tuple[StageSpec, ...]:
        """What every reference and every cell needs next, as ``next_stages`` yields it.

        It is the same object as long as it is equal.
        """
        if self._needs is None:
            parts: Iterable[Part[DenseView] | Part[CellView]] = (*self.dense, *self.cells)
            self._needs = tuple(part.needed for part in parts if not isinstance(part.needed, Done))
        return self._needs

    def stages(self, kind: StageKind) -> Iterator[StageSpec]:
        """Yield the stages of a kind after the ranking of all cells whose layers are chosen."""
        for _, stages in self._stages.values():
            yield from (stage for stage in stages if stage.kind is kind)

    def readers(self, key: str) -> Collection[str]:
        """Return the keys of all stages known by now that read the artifacts of a stage."""
        return tuple(each.key for each in self.following.get(key, ()) if key in each.reads)

    def is_shared(self, key: str) -> bool:
        """Whether several cells known by now rest on a stage."""
        return len(self._dependents.get(key, ())) > 1

    def update(self) -> None:
        """Make those parts anew whose keys have changed; at first, all of them."""
        changed = self.results.take_changed()
        try:
            if self._begun:
                self._update(changed)
            else:
                self._begin()
        except OSError:  # the store gave no answer: the next call does all of it
            self.results.change(changed)
            raise

    def _update(self, changed: Iterable[str]) -> None:
        self.results.load(changed)
        dirty: set[tuple[str, int]] = set()
        for key in changed:
            dirty |= self._dependents.get(key, set())
        self._load_stages(index for kind, index in dirty if kind == "cell")
        for kind, index in sorted(dirty):
            self._remake(kind, index)
        if dirty:
            self._needs = None

    def _begin(self) -> None:
        study, results = self.resolved.study, self.results
        references = [dense_spec(model, study).key for model in self._models]
        results.load((*self._users, *references))
        self._load_stages(range(len(self.ranked_by)))
        self.dense = [self._note("dense", i, self._dense(m)) for i, m in enumerate(self._models)]
        self.rankings = [
            self._note("ranking", i, self._ranking(users))
            for i, users in enumerate(self._users.values())
        ]
        self.cells = [self._note("cell", i, self._cell(i)) for i in range(len(self.ranked_by))]
        self._begun = True

    def _load_stages(self, cells: Iterable[int]) -> None:
        """Read all stages of these cells, many at once."""
        self.results.load(stage.key for cell in cells for stage in self.stages_of(cell)[1])

    def _remake(self, kind: str, index: int) -> None:
        match kind:
            case "dense":
                self.dense[index] = self._note(kind, index, self._dense(self._models[index]))
            case "ranking":
                users = list(self._users.values())[index]
                self.rankings[index] = self._note(kind, index, self._ranking(users))
            case _:
                self.cells[index] = self._note(kind, index, self._cell(index))

    def _note(self, kind: str, index: int, part: Part[PartView]) -> Part[PartView]:
        """Note what the part rests on, and return it."""
        for key in part.keys:
            self._dependents.setdefault(key, set()).add((kind, index))
        return part

    def stages_of(self, index: int) -> tuple[tuple[int, ...] | None, tuple[StageSpec, ...]]:
        """Return the layers that a cell removes and its stages after the ranking.

        None and no stages while its ranking is not deep enough.
        """
        cell = self.resolved.cells[index]
        order = self.results.order(self.ranked_by[index].key)
        if len(order) < cell.removed:
            return None, ()
        layers = order[: cell.removed]
        known = self._stages.get(index)
        if known is None or known[0] != layers:
            stages = cell_stages(cell, self.resolved.study, layers) if layers else ()
            known = self._stages[index] = layers, stages
            for place, stage in enumerate(stages, start=1):
                self.following[stage.key] = stages[place:]
        return known

    def _cell(self, index: int) -> Part[CellView]:
        """Return one cell, with the records of those of its stages that are done."""
        cell, ranking, results = self.resolved.cells[index], self.ranked_by[index], self.results
        layers, stages = self.stages_of(index)
        keys = {str(stage.kind): stage.key for stage in (ranking, *stages)}
        found = {kind: record for kind, key in keys.items() if (record := _later(results, key))}
        transfer = _of(found, StageKind.TRANSFER, TransferRecord)
        prune_key = keys.get(StageKind.PRUNE)
        rounds = results.rounds(ranking.key)
        began, ended = worked(keys, results)
        view = CellView(
            cell=cell,
            ranking_key=ranking.key,
            status=Status.WAITING,
            layers=layers,
            stage_keys=keys,
            transfer=transfer,
            checkpoint=_of(found, StageKind.PRUNE, CheckpointRecord),
            checkpoint_uri=results.checkpoint_uri(prune_key) if prune_key else None,
            evaluation=_of(found, StageKind.EVALUATE, EvaluationRecord),
            measurement=_of(found, StageKind.MEASURE, MeasurementRecord),
            seconds={kind: record.seconds for kind, record in found.items()},
            began=began,
            ended=ended,
            versions={kind: known for kind in found if (known := results.versions(keys[kind]))},
            rate_scales=rate_scales(rounds[: cell.removed], transfer),
        )
        needed = ranking if layers is None else first_needed_stage(stages, results)
        progress = f"{len(rounds)} of {cell.removed} layers ranked"
        return Part(view, needed, tuple(keys.values()), progress if layers is None else "")

    def _ranking(self, users: Sequence[int]) -> Part[RankingView]:
        """Return the ranking that these cells share, as deep as the deepest of them needs it."""
        cells = [self.resolved.cells[index] for index in users]
        first, depth = cells[0], max(cell.removed for cell in cells)
        spec = self.ranked_by[users[0]]
        rounds = self.results.rounds(spec.key)[:depth]  # other grids may need more of them
        view = RankingView(
            key=spec.key,
            name=first.ranking_name,
            model=first.model.name,
            selector=first.selector_label or first.selector.name,
            gate_l1=first.gate_l1,
            seed=first.seed,
            depth=depth,
            rounds=rounds,
            cells=tuple(cell.key for cell in cells),
            status=Status.WAITING,
        )
        return Part(view, Done() if len(rounds) >= depth else spec, (spec.key,))

    def _dense(self, model: ModelInfo) -> Part[DenseView]:
        """Return the unpruned model, with its scores and speed as far as they are there."""
        study, results = self.resolved.study, self.results
        reference, measure = dense_spec(model, study), measure_spec(model, study, ())
        keys = {str(each.kind): each.key for each in (reference, measure) if each}
        dense = results.record(reference.key)
        measured = results.record(measure.key) if measure else None
        known = dense if isinstance(dense, DenseRecord) else None
        view = DenseView(
            model=model,
            status=Status.WAITING,
            checkpoint=known.checkpoint if known else None,
            evaluation=known.evaluation if known else None,
            measurement=measured if isinstance(measured, MeasurementRecord) else None,
            versions={
                StageKind.EVALUATE: results.versions(reference.key),
                StageKind.MEASURE: results.versions(measure.key) if measure else {},
            },
            stage_keys=keys,
        )
        return Part(view, next_dense_stage(model, study, results), tuple(keys.values()))


_LaterRecord = TransferRecord | CheckpointRecord | EvaluationRecord | MeasurementRecord


def _later(results: StoreResults, key: str) -> _LaterRecord | None:
    """Return the record of a stage after the ranking; None while there is none."""
    record = results.record(key)
    return record if isinstance(record, _LaterRecord) else None


def _of(found: Mapping[str, Record], kind: StageKind, type_: type[RecordT]) -> RecordT | None:
    return record if isinstance(record := found.get(kind), type_) else None
