"""From the store to a view of the grid. Reads only; remembers nothing but what can no longer change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from orchestrator.grid.cells import Cell, ModelInfo, Study
from orchestrator.stages.next_stages import Done, next_dense_stage, next_stage, selection
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
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView, Status
from trsp.records import (
    CheckpointRecord,
    EvaluationRecord,
    MeasurementRecord,
    Record,
    TransferRecord,
)

RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True)
class Activity:
    """What a driver is doing: stages that run, why others wait, and those it has given up with the reason.

    ``notes``: of those that run, what is out of the ordinary.
    """

    running: Mapping[str, StageKind] = field(default_factory=dict)
    waits: Mapping[str, str] = field(default_factory=dict)
    given_up: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    live: bool = False  # False: nobody is at work, and what has failed before counts as failed


def build_view(
    resolved: Resolved, results: StoreResults, activity: Activity = Activity()
) -> GridView:
    """The grid as it stands."""
    study = resolved.study
    cells = tuple(_cell_view(cell, study, results, activity) for cell in resolved.cells)
    rankings = _ranking_views(resolved.cells, study, results, activity)
    dense = tuple(
        _dense_view(model, study, results, activity) for model in resolved.models.values()
    )
    view = GridView(
        key=resolved.key,
        name=resolved.grid.name,
        cells=cells,
        rankings=rankings,
        dense=dense,
        settings=resolved.grid.model_dump(mode="json"),
    )
    done = all(part.status is Status.DONE for part in view.parts)
    return replace(
        view, status=Status.DONE if done else Status.RUNNING if activity.live else Status.WAITING
    )


def _status(
    needed: StageSpec | Done, results: StoreResults, activity: Activity
) -> tuple[Status, str, str]:
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


def _record(
    results: StoreResults, keys: Mapping[str, str], kind: StageKind, type_: type[RecordT]
) -> RecordT | None:
    found = results.record(keys[kind]) if kind in keys else None
    return type_.model_validate(found) if found else None


def _cell_view(cell: Cell, study: Study, results: StoreResults, activity: Activity) -> CellView:
    rank = ranking_spec(cell, study)
    layers = selection(cell, study, results)
    stages = cell_stages(cell, study, layers) if layers else ()
    keys = {str(stage.kind): stage.key for stage in (rank, *stages)}
    status, stage, reason = _status(next_stage(cell, study, results), results, activity)
    if stage == StageKind.RANKING and (status is Status.RUNNING or not reason):
        reason = f"round {len(results.order(rank.key))} of {cell.removed}{f'; {reason}' if reason else ''}"
    view = CellView(
        cell=cell,
        ranking_key=rank.key,
        status=status,
        stage=stage,
        reason=reason,
        layers=layers,
        stage_keys=keys,
        transfer=_record(results, keys, StageKind.TRANSFER, TransferRecord),
        checkpoint=_record(results, keys, StageKind.PRUNE, CheckpointRecord),
        checkpoint_uri=results.checkpoint_uri(keys[StageKind.PRUNE])
        if StageKind.PRUNE in keys
        else None,
        evaluation=_record(results, keys, StageKind.EVALUATE, EvaluationRecord),
        measurement=_record(results, keys, StageKind.MEASURE, MeasurementRecord),
        seconds={
            kind: found["seconds"] for kind, key in keys.items() if (found := results.record(key))
        },
    )
    return view


def _ranking_views(
    cells: Sequence[Cell], study: Study, results: StoreResults, activity: Activity
) -> tuple[RankingView, ...]:
    """One view a ranking, with the cells that share it and the depth that the deepest of them wants."""
    sharing: dict[str, list[Cell]] = {}
    for cell in cells:
        sharing.setdefault(ranking_spec(cell, study).key, []).append(cell)
    return tuple(
        _ranking_view(key, users, study, results, activity) for key, users in sharing.items()
    )


def _ranking_view(
    key: str, users: Sequence[Cell], study: Study, results: StoreResults, activity: Activity
) -> RankingView:
    first, depth = users[0], max(cell.removed for cell in users)
    rounds = results.rounds(key)
    needed = Done() if len(rounds) >= depth else ranking_spec(first, study)
    status, _, reason = _status(needed, results, activity)
    strength = () if first.gate_l1 is None else (f"l1={first.gate_l1:g}",)
    seed = (f"seed={first.seed}",) if first.seed else ()
    return RankingView(
        key=key,
        name=" ".join(
            (first.model.name, first.selector_label or first.selector.name, *strength, *seed)
        ),
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


def _dense_view(
    model: ModelInfo, study: Study, results: StoreResults, activity: Activity
) -> DenseView:
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
