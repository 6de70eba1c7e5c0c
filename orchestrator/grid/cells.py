"""A cell: one combination of a grid, which asks for one pruned checkpoint.

``Study`` is what all cells of a grid share; with it, a cell determines the content keys of all its
stages. Pure; knows nothing of stores, clusters or files.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from orchestrator.grid.keys import canonical_json, content_key
from trsp.architecture.shape import ModelShape
from trsp.config import (
    CalibrationSettings,
    EvaluationSettings,
    MeasurementSettings,
    Precision,
    Selector,
    TextSource,
    Transfer,
)


@dataclass(frozen=True)
class ModelInfo:
    """A model of the grid, resolved: what is known of it without reading its weights."""

    name: str  # short, for people: SmolLM2-135M-Instruct
    source: str  # local folder or hub id
    revision: str | None  # hub commit; None for a local folder
    fingerprint: str  # names its content: a hash of the files
    layers: int
    layer_types: tuple[str, ...] = ()  # config.layer_types where the family has one
    # None where its config.json is not at hand, so that its memory cannot be estimated.
    shape: ModelShape | None = None
    # That of its checkpoint, which precision ``auto`` means; ``auto`` where it is not known.
    stored_precision: Precision = "auto"
    # Tokens in a row that it can read at most; None where its positions are computed, or unknown.
    learned_positions: int | None = None


@dataclass(frozen=True)
class Study:
    """What all cells of a grid share, resolved: settings, hardware, and the content of texts.

    Of two studies that are equal, equal cells have stages of equal content keys.
    """

    calibration: CalibrationSettings
    evaluation: EvaluationSettings
    measurement: MeasurementSettings
    precision: Precision
    hardware: str  # what speed is measured on: the name of a GPU, or cpu
    text_fingerprints: Mapping[str, str] = field(default_factory=dict)  # by text_id(source)
    # What names each benchmark task: where its rows are from, and how lm-eval defines it.
    benchmark_fingerprints: Mapping[str, Any] = field(default_factory=dict)

    def precision_of(self, model: ModelInfo) -> Precision:
        """Return the precision in which a model is loaded, by its name where that is known.

        So a grid that says ``auto`` and one that names what it means share their results.
        """
        return model.stored_precision if self.precision == "auto" else self.precision

    def fingerprint(self, text: TextSource) -> str:
        """Return what names a text's content; KeyError for a text that is not the grid's."""
        return self.text_fingerprints[text_id(text)]


@cache
def text_id(text: TextSource) -> str:
    """Return the key of a text source in ``Study.text_fingerprints``: its canonical JSON."""
    return canonical_json(text.model_dump(mode="json"))


@dataclass(frozen=True)
class Cell:
    """One combination of a grid's axes: a model, which layers of it go, and how."""

    model: ModelInfo
    selector: Selector
    ratio: float  # share of the layers to remove
    gate_l1: float | None  # None where the selector has no use for it
    transfer: Transfer
    drift: float | None  # None where the transfer has no use for it
    seed: int
    # What tells it from the grid's others, for people (``grid/labels.py``): no part of its key.
    selector_label: str = ""
    transfer_label: str = ""
    name: str = ""
    ranking_name: str = ""  # of its ranking, which other cells share

    @property
    def removed(self) -> int:
        """Number of layers to remove: ratio * layers, rounded half up."""
        return math.floor(self.ratio * self.model.layers + 0.5)

    @cached_property
    def key(self) -> str:
        """Names the combination in any grid; stage keys, not this, decide what is computed."""
        return content_key(
            "cell",
            {
                "model": self.model.fingerprint,
                "selector": self.selector.model_dump(mode="json"),
                "removed": self.removed,
                "gate_l1": self.gate_l1,
                "transfer": self.transfer.model_dump(mode="json"),
                "drift": self.drift,
                "seed": self.seed,
            },
        )

    @property
    def full_name(self) -> str:
        """The name, and the model's where that leaves it out: for where other grids are shown."""
        known = self.name.endswith(self.model.name)
        return self.name if known else f"{self.name} {self.model.name}"
