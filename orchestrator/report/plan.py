"""What a grid would run: cells, stages with and without sharing, layouts by memory, refusals.

Needs no cluster, network, store or torch: what the cluster has is what the grid's ``resources`` say
of it.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.grid.cells import Cell, ModelInfo, Study
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.estimate import DoesNotFit, describe_layout, layout_for
from orchestrator.layouts.layout import Layout, counted
from orchestrator.layouts.peak import peak
from orchestrator.layouts.share import planned_capacity
from orchestrator.layouts.workload import Work, work_of
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import (
    SCHEDULED,
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    ranking_spec,
)

# Every cell and its stages, the ranking first.
_Cells = Sequence[tuple[Cell, tuple[StageSpec, ...]]]


@dataclass(frozen=True)
class StageCount:
    """How many stages of one kind there would be.

    ``naive``: one per cell. ``at_most``: what cells share is done once. Before anything is ranked
    nobody knows which cells will choose the same layers; all that do will share more.
    """

    kind: str
    naive: int
    at_most: int


@dataclass(frozen=True)
class ModelCount:
    """The cells of one model; ``layers`` is None for a model of which nothing is known here."""

    name: str
    layers: int | None
    cells: int
    removed: tuple[int, ...] = ()  # the numbers of layers that cells remove


@dataclass(frozen=True)
class StageLayout:
    """Where a model's stages of one kind would run, or the ``refusal``: why they cannot.

    ``gpu_bytes`` and ``host_bytes``: the estimated peak of a rank, on each of its GPUs (None where
    it has none) and on the host.
    """

    model: str
    stage: str  # its kind, and which method of the grid's where there are several
    layout: str = ""
    gpu_bytes: int | None = None
    host_bytes: int = 0
    refusal: str = ""


@dataclass(frozen=True)
class Plan:
    """All that a plan says. ``refusals`` keep a grid from running; ``warnings`` do not."""

    name: str
    models: tuple[ModelCount, ...]
    stages: tuple[StageCount, ...]
    rounds: StageCount  # of ranking: one layer removed each
    layouts: tuple[StageLayout, ...] = ()
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    budgets: tuple[str, ...] = ()  # how many layers go for each, by ``ratios: auto``
    share: str = ""  # the most that the grid takes of a cluster at once; "" for all of it

    @property
    def cells(self) -> int:
        return sum(model.cells for model in self.models)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as values that JSON can say."""
        return {**asdict(self), "cells": self.cells}


def make_plan(
    resolved: Resolved, capacity: Capacity | None = None, resources: Resources | None = None
) -> Plan:
    """Return the plan of a grid: the same on every machine that knows the same models.

    Layouts are for a cluster of this ``capacity`` under these ``resources``; default: the largest
    that the grid speaks of, under its own.
    """
    resources = resources or resolved.grid.resources
    capacity = capacity or planned_capacity(resources)
    expansion = resolved.expansion
    cells = [(cell, tuple(_stages_of(cell, resolved.study))) for cell in resolved.cells]
    return Plan(
        name=resolved.grid.name,
        models=tuple(_model_counts(resolved)),
        stages=_stage_counts(resolved, cells),
        rounds=_round_count(cells),
        layouts=tuple(_layouts(resolved, cells, capacity, resources)),
        refusals=tuple(refusal.reason for refusal in expansion.refusals),
        warnings=(*expansion.notes, *_warnings(resolved)),
        budgets=tuple(line for fitted in expansion.fits for line in fitted.lines()),
        share=resolved.grid.resources.share.text if resolved.grid.resources.share else "",
    )


def _model_counts(resolved: Resolved) -> Iterator[ModelCount]:
    unresolved = resolved.expansion.unresolved
    for entry in resolved.grid.models:
        info = resolved.models.get(entry.name)
        cells = [cell for cell in resolved.cells if cell.model.name == entry.name]
        yield ModelCount(
            name=entry.name,
            layers=info.layers if info else None,
            cells=len(cells) or unresolved.get(entry.name, 0),
            removed=tuple(sorted({cell.removed for cell in cells})),
        )


def _stage_counts(resolved: Resolved, cells: _Cells) -> tuple[StageCount, ...]:
    naive: Counter[StageKind] = Counter()
    shared: dict[StageKind, set[str]] = {kind: set() for kind in SCHEDULED}
    for cell, stages in cells:
        for stage in stages:
            naive[stage.kind] += 1
            shared[stage.kind].add(_sharing_key(cell, stage))
    for model in resolved.models.values():
        dense = dense_spec(model, resolved.study)
        for reference in (dense, measure_spec(model, resolved.study, ())):
            if reference is not None:
                naive[reference.kind] += 1
                shared[reference.kind].add(reference.key)
    return tuple(StageCount(kind.value, naive[kind], len(shared[kind])) for kind in SCHEDULED)


def _stages_of(cell: Cell, study: Study) -> Iterator[StageSpec]:
    """The cell's stages for a made-up choice of layers that no other ranking makes."""
    ranking = ranking_spec(cell, study)
    yield ranking
    first = int(ranking.key.rpartition("-")[2], 16) + cell.model.layers
    yield from cell_stages(cell, study, range(first, first + cell.removed))


def _sharing_key(cell: Cell, stage: StageSpec) -> str:
    """What stages that can be shared have in common: the key, and for speed at times the choice.

    Speed is shared by shape; where layers are of several types, the choice decides the shape, and
    each may be its own.
    """
    if stage.kind is StageKind.MEASURE and len(set(cell.model.layer_types)) > 1:
        return f"{stage.key} {stage.reads}"
    return stage.key


def _round_count(cells: _Cells) -> StageCount:
    """The rounds of ranking; cells that share a ranking share its rounds up to the deepest."""
    deepest: dict[str, int] = {}
    for cell, (ranking, *_) in cells:
        deepest[ranking.key] = max(deepest.get(ranking.key, 0), cell.removed)
    naive = sum(cell.removed for cell, _ in cells)
    return StageCount("rank rounds", naive, sum(deepest.values()))


def _layouts(
    resolved: Resolved, cells: _Cells, capacity: Capacity, resources: Resources
) -> Iterator[StageLayout]:
    """One layout for all stages of a model that compute alike, as far as memory goes."""
    seen: set[tuple[str, Work]] = set()
    for model, label, spec in _labelled(resolved, cells):
        if model.shape is None:
            continue
        work = work_of(spec)
        if (model.name, work) in seen:
            continue
        seen.add((model.name, work))
        gone = f", {counted(work.bypassed, 'layer')} gone" if work.bypassed else ""
        stage = f"{spec.kind} {label}".strip() + gone
        layout = layout_for(spec, model.shape, capacity, resources, resolved.grid.engine)
        yield _stage_layout(model, stage, work, layout)


def _stage_layout(
    model: ModelInfo, stage: str, work: Work, layout: Layout | DoesNotFit
) -> StageLayout:
    assert model.shape is not None
    if isinstance(layout, DoesNotFit):
        return StageLayout(model.name, stage, refusal=layout.reason)
    needed = peak(model.shape, work, layout)
    gpu_bytes = needed.gpu.total if needed.gpu else None
    runs_on = describe_layout(layout, work)
    return StageLayout(model.name, stage, runs_on, gpu_bytes, needed.host.total)


def _labelled(resolved: Resolved, cells: _Cells) -> Iterator[tuple[ModelInfo, str, StageSpec]]:
    """Every stage with its model, and the label of the grid's method that it is of, if any."""
    for cell, stages in cells:
        labels = {
            StageKind.RANKING: cell.selector_label,
            StageKind.TRANSFER: cell.transfer_label,
        }
        for spec in stages:
            yield cell.model, labels.get(spec.kind, ""), spec
    for model in resolved.models.values():
        yield model, "", dense_spec(model, resolved.study)


def _warnings(resolved: Resolved) -> Iterator[str]:
    yield from _unknown_models(resolved)
    grid = resolved.grid
    if not grid.evaluation.perplexity and grid.evaluation.benchmarks is None:
        yield "evaluation names no text and no benchmark: no cell can be compared with another"
    calibration = grid.calibration.text
    for perplexity in grid.evaluation.perplexity:
        text = perplexity.text
        same_split = text.dataset is None or text.split == calibration.split
        same_source = (text.path or text.dataset) == (calibration.path or calibration.dataset)
        apart = (calibration.max_documents or math.inf) <= (text.skip_documents or 0)
        if same_source and same_split and not apart:
            yield (
                f"perplexity/{text.name} is measured on the calibration text: "
                "it says nothing of unseen text"
            )


def _unknown_models(resolved: Resolved) -> Iterator[str]:
    """Warnings for models that cannot be counted or estimated in full on this machine."""
    refused = {refusal.model for refusal in resolved.expansion.refusals}
    for name, cells in resolved.expansion.unresolved.items():
        if name in resolved.models:
            yield (
                f"{name}: ratios: auto needs its config.json, which is not on this machine: its "
                f"{cells} combinations are counted, their stages are not; a run asks the hub for it"
            )
        elif name not in refused:
            yield (
                f"{name} is not on this machine: its {cells} combinations are counted, "
                "their stages are not; give it 'layers'"
            )
    for model in resolved.models.values():
        if model.shape is None:
            yield (
                f"{model.name}: its config.json is not on this machine, "
                "so that its memory cannot be estimated here"
            )
