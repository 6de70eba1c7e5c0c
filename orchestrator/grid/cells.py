"""A cell: one combination of a grid, which asks for one pruned checkpoint.

``Study`` is what all cells of a grid share; with it, a cell determines the content keys of all its
stages. Pure; knows nothing of stores, clusters or files.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
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
    selector_label: str = ""  # what tells this selector from the grid's others, for people
    transfer_label: str = ""  # what tells this transfer from the grid's others, for people

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

    @cached_property
    def name(self) -> str:
        """A short name, unique in its grid: ``opt-350m r=0.1 gates l1=0.001 drift l2=0.01``."""
        parts = [self.model.name, f"r={self.ratio:g}", self.selector_label or self.selector.name]
        if self.gate_l1 is not None:
            parts.append(f"l1={self.gate_l1:g}")
        parts.append(self.transfer_label or self.transfer.name)
        if self.drift is not None:
            parts.append(f"l2={self.drift:g}")
        if self.seed:
            parts.append(f"seed={self.seed}")
        return " ".join(parts)

    @property
    def ranking_name(self) -> str:
        """A name of its ranking: ``SmolLM2-135M gates l1=0.005 seed=1``.

        A strength or seed of nothing is left out.
        """
        parts = [self.model.name, self.selector_label or self.selector.name]
        if self.gate_l1 is not None:
            parts.append(f"l1={self.gate_l1:g}")
        if self.seed:
            parts.append(f"seed={self.seed}")
        return " ".join(parts)
