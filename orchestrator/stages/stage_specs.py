"""Stages and their content keys, made of a cell and what all cells of its grid share.

A stage's key hashes every input that can change its result, and nothing else: no path, name, date
or number of GPUs. ``locations`` says where that content lies today; it is not hashed. The reasons
are in docs/design.md. Pure; knows no store.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from orchestrator.grid.cells import Cell, ModelInfo, Study
from orchestrator.grid.keys import content_key
from trsp.config import DriftSettings, HealSettings, LaterSetting, Settings, TextSource
from trsp.evaluation.hardware import is_cpu


class StageKind(StrEnum):
    """What a stage does; the values stand in keys and in the store."""

    DENSE = "dense"
    RANKING = "rank"
    TRANSFER = "transfer"
    PRUNE = "prune"
    EVALUATE = "evaluate"
    MEASURE = "measure"
    SCORE = "score"  # an item of DENSE or EVALUATE, which computes it; never started by itself


SCHEDULED = tuple(kind for kind in StageKind if kind is not StageKind.SCORE)

# Raised by hand whenever the code of a stage changes what it would compute from the same inputs.
# Scores are kept twice, in the item and in what is assembled of items: SCORE, EVALUATE, DENSE.
VERSIONS: Mapping[StageKind, int] = dict.fromkeys(StageKind, 1) | {
    StageKind.RANKING: 2,
    StageKind.TRANSFER: 2,
}


@dataclass(frozen=True)
class StageSpec:
    """A unit of work: what is computed from what, wherever and however that is done."""

    kind: StageKind
    inputs: Mapping[str, Any]  # all that can change the result, hashed
    locations: Mapping[str, Any] = field(default_factory=dict)  # where the inputs lie, not hashed
    reads: tuple[str, ...] = ()  # keys of the stages whose artifacts it needs
    depth: int = 0  # number of layers to rank; of rankings only, not hashed

    @cached_property
    def key(self) -> str:
        """Content key of the stage: equal work has one key, whichever grid asks for it."""
        return content_key(
            self.kind,
            {"version": VERSIONS[self.kind], "inputs": self.inputs, "reads": self.reads_hashed},
        )

    @property
    def reads_hashed(self) -> tuple[str, ...]:
        """The part of ``reads`` that the key knows: none for a measurement.

        Speed depends on a checkpoint's shape and not on its weights, so a measurement reads any
        checkpoint of that shape.
        """
        return () if self.kind is StageKind.MEASURE else self.reads


def _hashable(settings: Settings) -> dict[str, Any]:
    """Return the part of the settings that a key is made of.

    A preset is a way of writing settings, not a setting: ``paper`` spelled out has the same key.
    A setting marked as LaterSetting counts only where it is used.
    """
    dumped = settings.model_dump(mode="json", exclude={"preset"})
    later = {
        name
        for name, declared in type(settings).model_fields.items()
        if any(isinstance(mark, LaterSetting) for mark in declared.metadata)
    }
    return {name: value for name, value in dumped.items() if value is not None or name not in later}


def text_content(study: Study, text: TextSource) -> dict[str, Any]:
    """Return what a text's documents are made of, as it is hashed."""
    skipped = {} if text.skip_documents is None else {"skip_documents": text.skip_documents}
    return {
        "fingerprint": study.fingerprint(text),
        "field": text.field,
        "document_start": text.document_start,
        "max_documents": text.max_documents,
        **skipped,
    }


def _calibration(study: Study, seed: int) -> dict[str, Any]:
    """Return what the calibration blocks are made of, as it is hashed."""
    calibration = study.calibration
    return {
        "text": text_content(study, calibration.text),
        "blocks": calibration.blocks,
        "block_tokens": calibration.block_tokens,
        "cut": calibration.cut,
        "bos": calibration.bos,
        "seed": seed,
    }


def _locate(study: Study, model: ModelInfo, *texts: TextSource) -> dict[str, Any]:
    """Return where a model and texts lie today; texts by their fingerprints."""
    return {
        "model": {"name": model.name, "source": model.source, "revision": model.revision},
        "texts": {study.fingerprint(text): text.model_dump(mode="json") for text in texts},
    }


def ranking_spec(cell: Cell, study: Study, depth: int | None = None) -> StageSpec:
    """Return the ranking of which this cell reads a prefix.

    ``depth`` is the number of layers to rank, by default as many as the cell removes; the key does
    not know it.
    """
    selector = cell.selector
    inputs = {
        "model": cell.model.fingerprint,
        "selector": _hashable(selector),
        "gate_l1": cell.gate_l1 if selector.uses_gate_l1 else None,
        "seed": cell.seed if selector.uses_seed else None,
        "calibration": _calibration(study, cell.seed) if selector.uses_text else None,
        "precision": study.precision_of(cell.model) if selector.uses_text else None,
    }
    texts = (study.calibration.text,) if selector.uses_text else ()
    return StageSpec(
        StageKind.RANKING, inputs, _locate(study, cell.model, *texts), depth=depth or cell.removed
    )


def transfer_spec(cell: Cell, study: Study, layers: Iterable[int]) -> StageSpec | None:
    """Return stage two, or None where nothing is trained.

    Its key knows the set of layers chosen, not how they were chosen.
    """
    if not isinstance(cell.transfer, DriftSettings | HealSettings):
        return None
    inputs = {
        "model": cell.model.fingerprint,
        "layers": sorted(layers),
        "transfer": _hashable(cell.transfer),
        "drift": cell.drift if cell.transfer.uses_drift else None,
        "calibration": _calibration(study, cell.seed),
        "seed": cell.seed,
        "precision": study.precision_of(cell.model),
    }
    return StageSpec(StageKind.TRANSFER, inputs, _locate(study, cell.model, study.calibration.text))


def prune_spec(cell: Cell, study: Study, layers: Iterable[int]) -> StageSpec:
    """Return the deletion of the layers from stage two's weights, or from the model's own."""
    layers = sorted(layers)
    transfer = transfer_spec(cell, study, layers)
    inputs = {
        "model": cell.model.fingerprint,
        "layers": layers,
        "precision": study.precision_of(cell.model),
    }
    return StageSpec(
        StageKind.PRUNE,
        inputs,
        _locate(study, cell.model),
        reads=(transfer.key,) if transfer else (),
    )


def _evaluation(study: Study) -> dict[str, Any]:
    """Return what scores depend on besides the model, as it is hashed."""
    benchmarks = study.evaluation.benchmarks
    return {
        "perplexity": [
            {
                "name": p.text.name,
                "text": text_content(study, p.text),
                "window_tokens": p.window_tokens,
                "max_windows": p.max_windows,
                "bos": p.bos,
            }
            for p in study.evaluation.perplexity
        ],
        "benchmarks": benchmarks
        and {
            "tasks": {task: study.benchmark_fingerprints[task] for task in benchmarks.tasks},
            "limit": benchmarks.limit,
            "num_fewshot": benchmarks.num_fewshot,
        },
    }


def _evaluation_locations(study: Study, model: ModelInfo) -> dict[str, Any]:
    """Return where a model and the texts of the evaluation lie, with the evaluation's settings."""
    located = _locate(study, model, *(p.text for p in study.evaluation.perplexity))
    return {**located, "evaluation": study.evaluation.model_dump(mode="json")}


def evaluate_spec(cell: Cell, study: Study, layers: Iterable[int]) -> StageSpec:
    """Return the scoring of the checkpoint without the layers."""
    prune = prune_spec(cell, study, layers)
    inputs = {"evaluation": _evaluation(study), "precision": study.precision_of(cell.model)}
    return StageSpec(
        StageKind.EVALUATE, inputs, _evaluation_locations(study, cell.model), reads=(prune.key,)
    )


def dense_spec(model: ModelInfo, study: Study) -> StageSpec:
    """Return the reference: scores and size of the unpruned model."""
    inputs = {
        "model": model.fingerprint,
        "evaluation": _evaluation(study),
        "precision": study.precision_of(model),
    }
    return StageSpec(StageKind.DENSE, inputs, _evaluation_locations(study, model))


def measure_spec(
    model: ModelInfo, study: Study, layers: Iterable[int], reads: tuple[str, ...] = ()
) -> StageSpec | None:
    """Return the measurement of speed on the study's hardware, or None where none is asked for.

    All checkpoints of one shape share it. ``reads`` holds the key of a checkpoint without the
    layers; empty, the unpruned model is measured.
    """
    if study.measurement.protocol == "none":
        return None
    measurement = study.measurement.chosen_for(
        gpu=not is_cpu(study.hardware), positions=model.learned_positions
    )
    removed = set(layers)
    kept_types = tuple(kind for i, kind in enumerate(model.layer_types) if i not in removed)
    inputs = {
        "model": model.fingerprint,
        "layers_kept": model.layers - len(removed),
        "layer_types": kept_types,
        "measurement": measurement.model_dump(mode="json"),
        "hardware": study.hardware,
        "precision": study.precision_of(model),
    }
    return StageSpec(StageKind.MEASURE, inputs, _locate(study, model), reads=reads)


def cell_stages(cell: Cell, study: Study, layers: Iterable[int]) -> tuple[StageSpec, ...]:
    """Return every stage of a cell after its ranking, in order."""
    layers = tuple(layers)
    prune = prune_spec(cell, study, layers)
    stages = (
        transfer_spec(cell, study, layers),
        prune,
        evaluate_spec(cell, study, layers),
        measure_spec(cell.model, study, layers, reads=(prune.key,)),
    )
    return tuple(stage for stage in stages if stage is not None)
