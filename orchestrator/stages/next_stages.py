"""What a cell needs next, given what the store holds: all there is of a task graph. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.grid.cells import Cell, ModelInfo, Study
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    ranking_spec,
)


@dataclass(frozen=True)
class Done:
    """Nothing is left to do for this cell."""


class Results(Protocol):
    """What the store holds, as far as decisions need it."""

    def order(self, ranking_key: str) -> Sequence[int]:
        """Layers published so far, first removed first; empty when there is nothing."""

    def done(self, key: str) -> bool:
        """Whether the stage's result is there, whole."""


def selection(cell: Cell, study: Study, results: Results) -> tuple[int, ...] | None:
    """The chosen layers, first removed first; None while the ranking is not deep enough."""
    order = results.order(ranking_spec(cell, study).key)
    return tuple(order[: cell.removed]) if len(order) >= cell.removed else None


def next_stage(cell: Cell, study: Study, results: Results) -> StageSpec | Done:
    """What this cell needs next, given what the store holds."""
    layers = selection(cell, study, results)
    if layers is None:
        return ranking_spec(cell, study)
    return next_missing(cell_stages(cell, study, layers), results)


def next_dense_stage(model: ModelInfo, study: Study, results: Results) -> StageSpec | Done:
    """The same for the unpruned model."""
    stages = (dense_spec(model, study), measure_spec(model, study, ()))
    return next_missing([stage for stage in stages if stage is not None], results)


def next_missing(stages: Sequence[StageSpec], results: Results) -> StageSpec | Done:
    """The earliest missing stage that is wanted: the checkpoint, a final stage, or what a wanted missing one reads."""
    for stage in stages:
        if not results.done(stage.key) and _wanted(stage, stages, results):
            return stage
    return Done()


def _wanted(stage: StageSpec, stages: Sequence[StageSpec], results: Results) -> bool:
    """The checkpoint is what a cell exists for. Of the rest, what nobody reads, or somebody missing and wanted reads."""
    readers = [reader for reader in stages if stage.key in reader.reads]
    if stage.kind is StageKind.PRUNE or not readers:
        return True
    return any(
        not results.done(reader.key) and _wanted(reader, stages, results) for reader in readers
    )


def next_stages(resolved: Resolved, results: Results) -> Iterator[StageSpec]:
    """What every reference and cell that is not done needs next; equal stages as often as they are needed."""
    study = resolved.study
    for needed in (
        *(next_dense_stage(model, study, results) for model in resolved.models.values()),
        *(next_stage(cell, study, results) for cell in resolved.cells),
    ):
        if not isinstance(needed, Done):
            yield needed
