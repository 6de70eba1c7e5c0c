"""What a grid would run: cells, stages after sharing against naive, layouts by their memory, refusals.

Needs no cluster, network, store or torch: what the cluster has is what the grid's ``resources`` say of it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.grid.cells import Cell, ModelInfo, Study
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.estimate import DoesNotFit, describe_layout, layout_for
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import Work, work_of
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    measure_spec,
    ranking_spec,
)

UNLIMITED = (
    1024  # GPUs, and where there are none CPUs, that a plan counts on where the grid sets no limit
)


@dataclass(frozen=True)
class StageCount:
    """Stages of one kind: one a cell (``naive``), and once what cells share is done once (``at_most``: before anything
    is ranked nobody knows which cells will choose the same layers; all that do will share more)."""

    kind: str
    naive: int
    at_most: int


@dataclass(frozen=True)
class ModelCount:
    """Cells of one model; ``layers`` is None for a model of which nothing is known here."""

    name: str
    layers: int | None
    cells: int
    removed: tuple[int, ...] = ()  # the numbers of layers that cells remove


@dataclass(frozen=True)
class StageLayout:
    """Where stages of one kind would run, with the estimated peak of a rank; or why they cannot. Bytes of one GPU, if any."""

    model: str
    stage: str  # its kind, and which method of the grid's where there are several
    layout: str = ""
    gpu_bytes: int | None = None
    host_bytes: int = 0
    refusal: str = ""


@dataclass(frozen=True)
class Plan:
    name: str
    models: tuple[ModelCount, ...]
    stages: tuple[StageCount, ...]
    rounds: StageCount  # of ranking: one layer removed each
    layouts: tuple[StageLayout, ...] = ()
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def cells(self) -> int:
        return sum(model.cells for model in self.models)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "cells": self.cells}


def make_plan(resolved: Resolved) -> Plan:
    """Counts only: the same grid gives the same plan on every machine that knows the same models."""
    expansion = resolved.expansion
    return Plan(
        name=resolved.grid.name,
        models=tuple(_models(resolved)),
        stages=_stages(resolved),
        rounds=_rounds(resolved),
        layouts=tuple(_layouts(resolved)),
        refusals=tuple(refusal.reason for refusal in expansion.refusals),
        warnings=(*expansion.notes, *_warnings(resolved)),
    )


def _models(resolved: Resolved) -> Iterator[ModelCount]:
    unresolved = resolved.expansion.unresolved
    for entry in resolved.grid.models:
        info = resolved.models.get(entry.name)
        cells = [cell for cell in resolved.cells if cell.model.name == entry.name]
        removed = tuple(sorted({cell.removed for cell in cells}))
        yield ModelCount(
            entry.name,
            info.layers if info else None,
            len(cells) or unresolved.get(entry.name, 0),
            removed,
        )


def _stages(resolved: Resolved) -> tuple[StageCount, ...]:
    naive: Counter[StageKind] = Counter()
    shared: dict[StageKind, set[str]] = {kind: set() for kind in StageKind}
    for cell in resolved.cells:
        for stage in _stages_of(cell, resolved.study):
            naive[stage.kind] += 1
            shared[stage.kind].add(_sharing_key(cell, stage))
    for model in resolved.models.values():
        for reference in (
            dense_spec(model, resolved.study),
            measure_spec(model, resolved.study, ()),
        ):
            if reference is not None:
                naive[reference.kind] += 1
                shared[reference.kind].add(reference.key)
    return tuple(StageCount(kind.value, naive[kind], len(shared[kind])) for kind in StageKind)


def _stages_of(cell: Cell, study: Study) -> Iterator[StageSpec]:
    """The cell's stages for a made-up choice of layers that no other ranking makes."""
    rank = ranking_spec(cell, study)
    yield rank
    first = int(rank.key.rpartition("-")[2], 16) + cell.model.layers
    yield from cell_stages(cell, study, range(first, first + cell.removed))


def _sharing_key(cell: Cell, stage: StageSpec) -> str:
    """Speed is shared by shape; where layers are of several types, the choice decides the shape, and each may be its own."""
    if stage.kind is StageKind.MEASURE and len(set(cell.model.layer_types)) > 1:
        return f"{stage.key} {stage.reads}"
    return stage.key


def _rounds(resolved: Resolved) -> StageCount:
    deepest: dict[str, int] = {}
    for cell in resolved.cells:
        key = ranking_spec(cell, resolved.study).key
        deepest[key] = max(deepest.get(key, 0), cell.removed)
    return StageCount(
        "rank rounds", sum(cell.removed for cell in resolved.cells), sum(deepest.values())
    )


def _layouts(resolved: Resolved) -> Iterator[StageLayout]:
    """One for all stages of a model that compute alike, as far as memory goes."""
    seen: set[tuple[str, Work]] = set()
    for model, label, spec in _labelled(resolved):
        if model.shape is None or (model.name, work := work_of(spec)) in seen:
            continue
        seen.add((model.name, work))
        grid = resolved.grid
        stage = f"{spec.kind} {label}".strip()
        layout = layout_for(
            spec, model.shape, planned_capacity(grid.resources), grid.resources, grid.engine
        )
        if isinstance(layout, DoesNotFit):
            yield StageLayout(model.name, stage, refusal=layout.reason)
            continue
        needed = peak(model.shape, work, layout)
        gpu_bytes = needed.gpu.total if needed.gpu else None
        yield StageLayout(
            model.name, stage, describe_layout(layout, work), gpu_bytes, needed.host.total
        )


def _labelled(resolved: Resolved) -> Iterator[tuple[ModelInfo, str, StageSpec]]:
    labels = {
        StageKind.RANKING: lambda cell: cell.selector_label,
        StageKind.TRANSFER: lambda cell: cell.transfer_label,
    }
    for cell in resolved.cells:
        for spec in _stages_of(cell, resolved.study):
            yield cell.model, labels[spec.kind](cell) if spec.kind in labels else "", spec
    for model in resolved.models.values():
        yield model, "", dense_spec(model, resolved.study)


def planned_capacity(resources: Resources) -> Capacity:
    """The cluster that the grid speaks of: one machine with GPUs where it says so, and as many of them as it allows."""
    most = resources.max_ranks or (UNLIMITED if resources.ranks == "auto" else resources.ranks)
    with_gpus = resources.use_gpus is True or (
        resources.use_gpus == "auto" and resources.gpu_memory is not None
    )
    return Capacity(
        most * resources.cpus_per_rank,
        most if with_gpus else 0,
        resources.memory or 0,
        resources.gpu_memory or 0,
    )


def _warnings(resolved: Resolved) -> Iterator[str]:
    grid = resolved.grid
    for name, cells in resolved.expansion.unresolved.items():
        if not any(refusal.model == name for refusal in resolved.expansion.refusals):
            yield f"{name} is not on this machine: its {cells} combinations are counted, their stages are not; give it 'layers'"
    for model in resolved.models.values():
        if model.shape is None:
            yield f"{model.name}: its config.json is not on this machine, so that its memory cannot be estimated here"
    if not grid.evaluation.perplexity and grid.evaluation.benchmarks is None:
        yield "evaluation names no text and no benchmark: no cell can be compared with another"
    trained = {grid.calibration.text.path or grid.calibration.text.dataset}
    for perplexity in grid.evaluation.perplexity:
        text = perplexity.text
        same_split = text.dataset is None or text.split == grid.calibration.text.split
        if (text.path or text.dataset) in trained and same_split:
            yield f"perplexity/{text.name} is measured on the calibration text: it says nothing of unseen text"
