"""From the store to a view of the grid. Reads only, and remembers nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from orchestrator.grid.cells import Cell, ModelInfo, Study
from orchestrator.stages.next_stages import Done, chosen_layers, next_dense_stage, next_stage
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    ranking_spec,
)
from orchestrator.store.results import StoreResults
from orchestrator.views.grid_view import (
    CellView,
    DenseView,
    GridView,
    RankingView,
    Status,
    lowest_rate,
)
from trsp.records import (
    CheckpointRecord,
    EvaluationRecord,
    MeasurementRecord,
    Record,
    RoundRecord,
    TransferRecord,
)

RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True)
class Activity:
    """What a driver is doing with its stages, by key."""

    running: Mapping[str, StageKind] = field(default_factory=dict)
    waits: Mapping[str, str] = field(default_factory=dict)  # what those that wait, wait for
    given_up: Mapping[str, str] = field(default_factory=dict)  # why
    notes: Mapping[str, str] = field(default_factory=dict)  # what is unusual about a running one
    live: bool = False  # False: nobody is at work, and what has failed before counts as failed


@dataclass(frozen=True)
class _Standing:
    """How a stage stands, and with it whoever needs it next; ``kind`` is "" where all is done."""

    status: Status
    kind: str = ""
    reason: str = ""


def build_view(
    resolved: Resolved, results: StoreResults, activity: Activity = Activity()
) -> GridView:
    """Return the grid as it stands in the store, with what a driver adds to that."""
    study = resolved.study
    models = resolved.models.values()
    view = GridView(
        key=resolved.key,
        name=resolved.grid.name,
        cells=tuple(_cell_view(cell, study, results, activity) for cell in resolved.cells),
        rankings=tuple(_ranking_views(resolved.cells, study, results, activity)),
        dense=tuple(_dense_view(model, study, results, activity) for model in models),
        settings=resolved.grid.model_dump(mode="json"),
    )
    return replace(view, status=_grid_status(view, activity))


def _grid_status(view: GridView, activity: Activity) -> Status:
    """Return DONE where every part is; else whether somebody is at work."""
    if all(part.status is Status.DONE for part in view.parts):
        return Status.DONE
    return Status.RUNNING if activity.live else Status.WAITING


def _standing(needed: StageSpec | Done, results: StoreResults, activity: Activity) -> _Standing:
    """Return how the stage stands that somebody needs next."""
    if isinstance(needed, Done):
        return _Standing(Status.DONE)
    key, kind = needed.key, needed.kind
    if key in activity.given_up:
        return _Standing(Status.FAILED, kind, activity.given_up[key])
    if key in activity.running:
        return _Standing(Status.RUNNING, kind, activity.notes.get(key, ""))
    failure = results.unreadable(key) or ("" if activity.live else results.failure(key))
    if failure:
        return _Standing(Status.FAILED, kind, failure)
    return _Standing(Status.WAITING, kind, activity.waits.get(key, ""))


def _record(
    results: StoreResults, keys: Mapping[str, str], kind: StageKind, type_: type[RecordT]
) -> RecordT | None:
    """Return the record of the stage of this kind; None while it is not done or not known."""
    stored = results.record(keys[kind]) if kind in keys else None
    return type_.model_validate(stored) if stored else None


def _cell_view(cell: Cell, study: Study, results: StoreResults, activity: Activity) -> CellView:
    """Return one cell, with the records of those of its stages that are done."""
    ranking = ranking_spec(cell, study)
    layers = chosen_layers(cell, study, results)
    stages = cell_stages(cell, study, layers) if layers else ()
    keys = {str(stage.kind): stage.key for stage in (ranking, *stages)}
    standing = _standing(next_stage(cell, study, results), results, activity)
    prune_key = keys.get(StageKind.PRUNE)
    transfer = _record(results, keys, StageKind.TRANSFER, TransferRecord)
    return CellView(
        cell=cell,
        ranking_key=ranking.key,
        status=standing.status,
        stage=standing.kind,
        reason=_cell_reason(cell, standing, ranking.key, results),
        layers=layers,
        stage_keys=keys,
        transfer=transfer,
        checkpoint=_record(results, keys, StageKind.PRUNE, CheckpointRecord),
        checkpoint_uri=results.checkpoint_uri(prune_key) if prune_key else None,
        evaluation=_record(results, keys, StageKind.EVALUATE, EvaluationRecord),
        measurement=_record(results, keys, StageKind.MEASURE, MeasurementRecord),
        seconds=_seconds(results, keys),
        versions={kind: found for kind, key in keys.items() if (found := results.versions(key))},
        rate_scales=_rate_scales(results.rounds(ranking.key)[: cell.removed], transfer),
    )


def _rate_scales(
    rounds: Sequence[RoundRecord], transfer: TransferRecord | None
) -> dict[str, float]:
    """Return the shares of learning rates below 1 that led to a cell, by kind of stage."""
    scales = {
        str(StageKind.RANKING): lowest_rate(rounds),
        str(StageKind.TRANSFER): transfer.rate_scale if transfer else 1.0,
    }
    return {kind: scale for kind, scale in scales.items() if scale < 1}


def _cell_reason(cell: Cell, standing: _Standing, ranking_key: str, results: StoreResults) -> str:
    """Return the reason of a cell's status; while it is being ranked, with the rounds published."""
    if standing.kind != StageKind.RANKING:
        return standing.reason
    if standing.reason and standing.status is not Status.RUNNING:
        return standing.reason
    progress = f"round {len(results.order(ranking_key))} of {cell.removed}"
    return f"{progress}; {standing.reason}" if standing.reason else progress


def _seconds(results: StoreResults, keys: Mapping[str, str]) -> dict[str, float]:
    """Return the wall time of every stage that is done, by kind."""
    records = {kind: results.record(key) for kind, key in keys.items()}
    return {kind: record.get("seconds", 0.0) for kind, record in records.items() if record}


def _ranking_views(
    cells: Sequence[Cell], study: Study, results: StoreResults, activity: Activity
) -> Iterator[RankingView]:
    """Yield one view per ranking, in the order of the first cell of each."""
    sharing: dict[str, list[Cell]] = {}
    for cell in cells:
        sharing.setdefault(ranking_spec(cell, study).key, []).append(cell)
    for users in sharing.values():
        yield _ranking_view(users, study, results, activity)


def _ranking_view(
    users: Sequence[Cell], study: Study, results: StoreResults, activity: Activity
) -> RankingView:
    """Return the ranking that these cells share, as deep as the deepest of them needs it."""
    first, depth = users[0], max(cell.removed for cell in users)
    spec = ranking_spec(first, study)
    rounds = results.rounds(spec.key)
    standing = _standing(Done() if len(rounds) >= depth else spec, results, activity)
    return RankingView(
        key=spec.key,
        name=_ranking_name(first),
        model=first.model.name,
        selector=first.selector_label or first.selector.name,
        gate_l1=first.gate_l1,
        seed=first.seed,
        depth=depth,
        rounds=rounds,
        cells=tuple(cell.key for cell in users),
        status=standing.status,
        reason=standing.reason,
    )


def _ranking_name(cell: Cell) -> str:
    """Return ``SmolLM2-135M gates l1=0.005 seed=1``; a strength or seed of nothing is left out."""
    parts = [cell.model.name, cell.selector_label or cell.selector.name]
    if cell.gate_l1 is not None:
        parts.append(f"l1={cell.gate_l1:g}")
    if cell.seed:
        parts.append(f"seed={cell.seed}")
    return " ".join(parts)


def _dense_view(
    model: ModelInfo, study: Study, results: StoreResults, activity: Activity
) -> DenseView:
    """Return the unpruned model, with its scores and speed as far as they are there."""
    standing = _standing(next_dense_stage(model, study, results), results, activity)
    dense_key = dense_spec(model, study).key
    dense = results.record(dense_key)
    measure = measure_spec(model, study, ())
    measured = results.record(measure.key) if measure else None
    return DenseView(
        model=model,
        status=standing.status,
        reason=standing.reason,
        checkpoint=CheckpointRecord.model_validate(dense["checkpoint"]) if dense else None,
        evaluation=EvaluationRecord.model_validate(dense["evaluation"]) if dense else None,
        measurement=MeasurementRecord.model_validate(measured) if measured else None,
        versions={
            StageKind.EVALUATE: results.versions(dense_key),
            StageKind.MEASURE: results.versions(measure.key) if measure else {},
        },
    )
