"""A cell: one combination of a grid, one pruned checkpoint wanted. Pure; knows nothing of stores, clusters or files.

``Study`` is what all cells of a grid share; with it, a cell determines the content keys of all its stages.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

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
    """A model of the grid, resolved. ``fingerprint`` names its content: a hash of the files, or a hub commit."""

    name: str  # short, for people: SmolLM2-135M-Instruct
    source: str  # local folder or hub id
    revision: str | None  # hub commit; None for a local folder
    fingerprint: str
    layers: int
    layer_types: tuple[str, ...] = ()  # config.layer_types where the family has one
    shape: ModelShape | None = (
        None  # None: its config.json is not at hand, so that its memory cannot be estimated
    )


@dataclass(frozen=True)
class Study:
    """What all cells of a grid share, resolved. Maps text sources to fingerprints of their content."""

    calibration: CalibrationSettings
    evaluation: EvaluationSettings
    measurement: MeasurementSettings
    precision: Precision
    hardware: str
    text_fingerprints: Mapping[str, str] = field(
        default_factory=dict
    )  # text_id(source) -> fingerprint
    benchmark_fingerprint: str = "hub"

    def fingerprint(self, text: TextSource) -> str:
        return self.text_fingerprints[text_id(text)]


def text_id(text: TextSource) -> str:
    """The map key of a text source: its canonical JSON."""
    return canonical_json(text.model_dump(mode="json"))


@dataclass(frozen=True)
class Cell:
    """One combination. ``gate_l1`` and ``drift`` are None where the selector or transfer has no use for them."""

    model: ModelInfo
    selector: Selector
    ratio: float
    gate_l1: float | None
    transfer: Transfer
    drift: float | None
    seed: int
    selector_label: str = ""  # what tells this selector from the grid's others, for people
    transfer_label: str = ""

    @property
    def removed(self) -> int:
        """k = ratio * L, rounded half up."""
        return math.floor(self.ratio * self.model.layers + 0.5)

    @property
    def key(self) -> str:
        """Identity of the combination within any grid; stage keys, not this, decide what is computed."""
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
    def name(self) -> str:
        """Short, and unique within its grid: ``opt-350m r=0.1 gates l1=0.001 drift l2=0.01``."""
        parts = [self.model.name, f"r={self.ratio:g}", self.selector_label or self.selector.name]
        if self.gate_l1 is not None:
            parts.append(f"l1={self.gate_l1:g}")
        parts.append(self.transfer_label or self.transfer.name)
        if self.drift is not None:
            parts.append(f"l2={self.drift:g}")
        if self.seed:
            parts.append(f"seed={self.seed}")
        return " ".join(parts)
