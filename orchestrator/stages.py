"""Stages and their content keys. Pure: ``next_stage(cell, study, results)`` is all there is of a task graph.

A stage's key hashes every input that can change its result, and nothing else: no path, name, date or number of GPUs.
``locations`` says where that content lies today; it is not hashed. METHOD and ARCHITECTURE hold the reasons.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol

from orchestrator.cells import Cell, ModelInfo, Study, content_key
from trsp.config import DriftSettings, HealSettings, Settings, TextSource

_LATER = frozenset({"lora"})


class Kind(StrEnum):
    DENSE = "dense"
    RANK = "rank"
    TRANSFER = "transfer"
    PRUNE = "prune"
    EVALUATE = "evaluate"
    MEASURE = "measure"


# Raised by hand whenever the code of a stage changes what it would compute from the same inputs.
VERSIONS: Mapping[Kind, int] = dict.fromkeys(Kind, 1) | {Kind.RANK: 2, Kind.TRANSFER: 2}


@dataclass(frozen=True)
class StageSpec:
    """A unit of work. ``reads`` are keys of stages whose artifacts it needs; ``depth`` is how far to rank (RANK only)."""

    kind: Kind
    inputs: Mapping[str, Any]
    locations: Mapping[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    depth: int = 0

    @cached_property
    def key(self) -> str:
        return content_key(self.kind, {"version": VERSIONS[self.kind], "inputs": self.inputs, "reads": self.reads_hashed})

    @property
    def reads_hashed(self) -> tuple[str, ...]:
        """Speed depends on a checkpoint's shape, not on its weights: ``measure`` reads any checkpoint of that shape."""
        return () if self.kind is Kind.MEASURE else self.reads


@dataclass(frozen=True)
class Done:
    """Nothing is left to do for this cell."""


class Results(Protocol):
    """What the store holds, as far as decisions need it."""

    def order(self, rank_key: str) -> Sequence[int]:
        """Layers published so far, first removed first; empty when there is nothing."""

    def done(self, key: str) -> bool:
        """Whether the stage's result is there, whole."""


def _hashable(settings: Settings) -> dict[str, Any]:
    """A preset is a way of writing settings, not a setting: ``paper`` spelled out has the same key.

    A setting that came later counts only where it is used: what was computed before it keeps its key.
    """
    dumped = settings.model_dump(mode="json", exclude={"preset"})
    return {name: value for name, value in dumped.items() if value is not None or name not in _LATER}


def _text(study: Study, text: TextSource) -> dict[str, Any]:
    return {
        "fingerprint": study.fingerprint(text),
        "field": text.field,
        "document_start": text.document_start,
        "max_documents": text.max_documents,
    }


def _calibration(study: Study, seed: int) -> dict[str, Any]:
    calibration = study.calibration
    return {
        "text": _text(study, calibration.text),
        "blocks": calibration.blocks,
        "block_tokens": calibration.block_tokens,
        "bos": calibration.bos,
        "seed": seed,
    }


def _locate(study: Study, model: ModelInfo, *texts: TextSource) -> dict[str, Any]:
    return {
        "model": {"name": model.name, "source": model.source, "revision": model.revision},
        "texts": {study.fingerprint(text): text.model_dump(mode="json") for text in texts},
    }


def rank_spec(cell: Cell, study: Study, depth: int | None = None) -> StageSpec:
    """The ranking that this cell reads a prefix of; its key does not know the depth."""
    selector = cell.selector
    inputs = {
        "model": cell.model.fingerprint,
        "selector": _hashable(selector),
        "gate_l1": cell.gate_l1 if selector.uses_gate_l1 else None,
        "seed": cell.seed if selector.uses_seed else None,
        "calibration": _calibration(study, cell.seed) if selector.uses_text else None,
        "precision": study.precision if selector.uses_text else None,
    }
    texts = (study.calibration.text,) if selector.uses_text else ()
    return StageSpec(Kind.RANK, inputs, _locate(study, cell.model, *texts), depth=depth or cell.removed)


def transfer_spec(cell: Cell, study: Study, layers: Iterable[int]) -> StageSpec | None:
    """Stage two, keyed by the set of layers chosen, not by how they were chosen. None where nothing is trained."""
    if not isinstance(cell.transfer, DriftSettings | HealSettings):
        return None
    inputs = {
        "model": cell.model.fingerprint,
        "layers": sorted(layers),
        "transfer": _hashable(cell.transfer),
        "drift": cell.drift if cell.transfer.uses_drift else None,
        "calibration": _calibration(study, cell.seed),
        "seed": cell.seed,
        "precision": study.precision,
    }
    return StageSpec(Kind.TRANSFER, inputs, _locate(study, cell.model, study.calibration.text))


def prune_spec(cell: Cell, study: Study, layers: Iterable[int]) -> StageSpec:
    """Deletion of the layers from the transferred weights, or from the model's own."""
    layers = sorted(layers)
    transfer = transfer_spec(cell, study, layers)
    inputs = {"model": cell.model.fingerprint, "layers": layers, "precision": study.precision}
    return StageSpec(Kind.PRUNE, inputs, _locate(study, cell.model), reads=(transfer.key,) if transfer else ())


def _evaluation(study: Study) -> dict[str, Any]:
    benchmarks = study.evaluation.benchmarks
    return {
        "perplexity": [
            {
                "name": p.text.name,
                "text": _text(study, p.text),
                "window_tokens": p.window_tokens,
                "max_windows": p.max_windows,
                "bos": p.bos,
            }
            for p in study.evaluation.perplexity
        ],
        "benchmarks": benchmarks
        and {
            "tasks": sorted(benchmarks.tasks),
            "limit": benchmarks.limit,
            "num_fewshot": benchmarks.num_fewshot,
            "data": study.benchmark_fingerprint,
        },
    }


def _evaluation_locations(study: Study, model: ModelInfo) -> dict[str, Any]:
    located = _locate(study, model, *(p.text for p in study.evaluation.perplexity))
    return {**located, "evaluation": study.evaluation.model_dump(mode="json")}


def evaluate_spec(cell: Cell, study: Study, layers: Iterable[int]) -> StageSpec:
    prune = prune_spec(cell, study, layers)
    inputs = {"evaluation": _evaluation(study), "precision": study.precision}
    return StageSpec(Kind.EVALUATE, inputs, _evaluation_locations(study, cell.model), reads=(prune.key,))


def dense_spec(model: ModelInfo, study: Study) -> StageSpec:
    """Reference scores and size of the unpruned model."""
    inputs = {"model": model.fingerprint, "evaluation": _evaluation(study), "precision": study.precision}
    return StageSpec(Kind.DENSE, inputs, _evaluation_locations(study, model))


def measure_spec(model: ModelInfo, study: Study, layers: Iterable[int], reads: tuple[str, ...] = ()) -> StageSpec | None:
    """Speed on one kind of hardware, shared by all checkpoints of one shape. ``reads`` empty: the unpruned model."""
    if study.measurement.protocol == "none":
        return None
    removed = set(layers)
    kept_types = tuple(kind for i, kind in enumerate(model.layer_types) if i not in removed)
    inputs = {
        "model": model.fingerprint,
        "layers_kept": model.layers - len(removed),
        "layer_types": kept_types,
        "measurement": study.measurement.model_dump(mode="json"),
        "hardware": study.hardware,
        "precision": study.precision,
    }
    return StageSpec(Kind.MEASURE, inputs, _locate(study, model), reads=reads)


def cell_stages(cell: Cell, study: Study, layers: Iterable[int]) -> tuple[StageSpec, ...]:
    """Every stage of a cell after its ranking, in order."""
    layers = tuple(layers)
    prune = prune_spec(cell, study, layers)
    stages = (
        transfer_spec(cell, study, layers),
        prune,
        evaluate_spec(cell, study, layers),
        measure_spec(cell.model, study, layers, reads=(prune.key,)),
    )
    return tuple(stage for stage in stages if stage is not None)


def selection(cell: Cell, study: Study, results: Results) -> tuple[int, ...] | None:
    """The chosen layers, first removed first; None while the ranking is not deep enough."""
    order = results.order(rank_spec(cell, study).key)
    return tuple(order[: cell.removed]) if len(order) >= cell.removed else None


def next_stage(cell: Cell, study: Study, results: Results) -> StageSpec | Done:
    """What this cell needs next, given what the store holds."""
    layers = selection(cell, study, results)
    if layers is None:
        return rank_spec(cell, study)
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
    if stage.kind is Kind.PRUNE or not readers:
        return True
    return any(not results.done(reader.key) and _wanted(reader, stages, results) for reader in readers)
