"""What a cell needs next, given what the store holds: all there is of a task graph.

Pure; knows of a store no more than the protocol ``Results``.
"""

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
    """Nothing is left to do."""


class Results(Protocol):
    """What the store holds, as far as decisions need it."""

    def order(self, ranking_key: str) -> Sequence[int]:
        """Return the layers that a ranking has published so far, first removed first."""

    def done(self, key: str) -> bool:
        """Whether the stage's result is there, whole."""


def chosen_layers(cell: Cell, study: Study, results: Results) -> tuple[int, ...] | None:
    """Return the layers that a cell removes, first removed first.

    None while its ranking is not deep enough.
    """
    order = results.order(ranking_spec(cell, study).key)
    return tuple(order[: cell.removed]) if len(order) >= cell.removed else None


def next_stage(cell: Cell, study: Study, results: Results) -> StageSpec | Done:
    """Return the stage that a cell needs next: its ranking, or one of those after it."""
    layers = chosen_layers(cell, study, results)
    if layers is None:
        return ranking_spec(cell, study)
    return first_needed_stage(cell_stages(cell, study, layers), results)


def next_dense_stage(model: ModelInfo, study: Study, results: Results) -> StageSpec | Done:
    """Return the stage that the reference of a model needs next: its scores or its speed."""
    stages = (dense_spec(model, study), measure_spec(model, study, ()))
    return first_needed_stage([stage for stage in stages if stage is not None], results)


def first_needed_stage(stages: Sequence[StageSpec], results: Results) -> StageSpec | Done:
    """Return the earliest stage, of those of one cell in order, that is missing and needed."""
    return next(missing_stages(stages, results), Done())


def missing_stages(stages: Sequence[StageSpec], results: Results) -> Iterator[StageSpec]:
    """Yield the stages, of those of one cell in order, that are missing and needed."""
    for stage in stages:
        if not results.done(stage.key) and _is_needed(stage, stages, results):
            yield stage


def _is_needed(stage: StageSpec, stages: Sequence[StageSpec], results: Results) -> bool:
    """Whether a cell with these stages needs the stage's result.

    It needs the checkpoint, for which it exists, and every stage that no other reads. Any other
    stage is needed only while one that reads it is missing and needed.
    """
    readers = [reader for reader in stages if stage.key in reader.reads]
    if stage.kind is StageKind.PRUNE or not readers:
        return True
    return any(
        not results.done(reader.key) and _is_needed(reader, stages, results) for reader in readers
    )


def next_stages(resolved: Resolved, results: Results) -> Iterator[StageSpec]:
    """Yield what every reference and every cell that is not done needs next, in that order.

    Equal stages come as often as they are needed.
    """
    study = resolved.study
    for model in resolved.models.values():
        reference_stage = next_dense_stage(model, study, results)
        if not isinstance(reference_stage, Done):
            yield reference_stage
    for cell in resolved.cells:
        cell_stage = next_stage(cell, study, results)
        if not isinstance(cell_stage, Done):
            yield cell_stage
