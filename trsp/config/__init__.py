"""What goes into the algorithms: frozen pydantic settings.

No torch, no knowledge of grids, stores or clusters.
Every default is part of a stage's content key, so changing one here never returns an old result.
Token counts are in tokens, rates in their field's usual unit, durations end in ``_s``.
"""

from trsp.config.engine import EngineSettings, Offload
from trsp.config.evaluation import (
    SMALL_MEASUREMENT,
    BatchSize,
    BenchmarkSettings,
    EvaluationSettings,
    MeasurementSettings,
    PerplexitySettings,
)
from trsp.config.selectors import (
    PAPER_GATES,
    BlockInfluenceSettings,
    GatesSettings,
    RandomSettings,
    ReverseSettings,
    Selector,
    SelectorSettings,
    SlebSettings,
)
from trsp.config.settings import LaterSetting, NonNegativeInt, Precision, Settings
from trsp.config.texts import PAPER_CALIBRATION, BosPolicy, CalibrationSettings, TextSource
from trsp.config.transfers import (
    PAPER_DRIFT,
    DriftSettings,
    HealSettings,
    LoraSettings,
    NoTransfer,
    TrainingSettings,
    Transfer,
)

__all__ = [
    "PAPER_CALIBRATION",
    "PAPER_DRIFT",
    "PAPER_GATES",
    "SMALL_MEASUREMENT",
    "BatchSize",
    "BenchmarkSettings",
    "BlockInfluenceSettings",
    "BosPolicy",
    "CalibrationSettings",
    "DriftSettings",
    "EngineSettings",
    "EvaluationSettings",
    "GatesSettings",
    "HealSettings",
    "LaterSetting",
    "LoraSettings",
    "MeasurementSettings",
    "NoTransfer",
    "NonNegativeInt",
    "Offload",
    "PerplexitySettings",
    "Precision",
    "RandomSettings",
    "ReverseSettings",
    "Selector",
    "SelectorSettings",
    "Settings",
    "SlebSettings",
    "TextSource",
    "TrainingSettings",
    "Transfer",
]
