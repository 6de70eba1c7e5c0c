"""Cells and studies made by hand, and results held in a dict.

They are what the pure tests of the scheduling side decide about.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.grid.cells import Cell, ModelInfo, Study, text_id
from orchestrator.grid.labels import named
from orchestrator.stages.next_stages import Done, chosen_layers, next_stage
from orchestrator.stages.stage_specs import StageKind, StageSpec, cell_stages, ranking_spec
from trsp.config import (
    BenchmarkSettings,
    CalibrationSettings,
    DriftSettings,
    EvaluationSettings,
    GatesSettings,
    MeasurementSettings,
    PerplexitySettings,
    TextSource,
)

MODEL = ModelInfo("tiny", "/models/tiny", None, "sha256:m", 10)
WIKI = TextSource(name="wiki", path="/texts/wiki.jsonl")
TEST = TextSource(name="test", path="/texts/test.jsonl")
ORDER = (4, 7, 2, 8, 5, 1, 3, 6)  # a ranking of MODEL's layers, first removed first


def study(**changes: Any) -> Study:
    """Return a study of one calibration text, one perplexity and two tasks, with the changes."""
    fingerprints = {text_id(WIKI): "sha256:wiki", text_id(TEST): "sha256:test"}
    defaults: dict[str, Any] = {
        "calibration": CalibrationSettings(text=WIKI, blocks=4, block_tokens=32),
        "evaluation": EvaluationSettings(
            perplexity=(PerplexitySettings(text=TEST, window_tokens=32),),
            benchmarks=BenchmarkSettings(tasks=("piqa", "copa")),
        ),
        "measurement": MeasurementSettings.model_validate({}),
        "precision": "auto",
        "hardware": "cpu",
        "text_fingerprints": fingerprints,
        "benchmark_fingerprints": {task: f"hub:{task}" for task in ("piqa", "copa", "sciq")},
    }
    return Study(**(defaults | changes))


def cell(**changes: Any) -> Cell:
    """Return gates at lambda_1 = 0.005, drift at lambda_2 = 0.001, 2 of 10 layers; with changes."""
    defaults: dict[str, Any] = {
        "model": MODEL,
        "selector": GatesSettings(),
        "ratio": 0.2,
        "gate_l1": 5e-3,
        "transfer": DriftSettings(),
        "drift": 1e-3,
        "seed": 0,
    }
    made = Cell(**(defaults | changes))
    labels = {"selector_label": made.selector.name, "transfer_label": made.transfer.name}
    return named((replace(made, **(labels | changes)),), several_models=False)[0]


@dataclass
class DictResults:
    """``next_stages.Results`` without a store."""

    orders: dict[str, Sequence[int]] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)

    def order(self, ranking_key: str) -> Sequence[int]:
        return self.orders.get(ranking_key, ())

    def done(self, key: str) -> bool:
        return key in self.finished

    def finish(self, spec: StageSpec, order: Sequence[int] = ()) -> None:
        """Leave what running the stage would: as much of ``order`` as it ranks, or a result."""
        if spec.kind is StageKind.RANKING:
            self.orders[spec.key] = order[: spec.depth]
        else:
            self.finished.add(spec.key)


def walk(asked: Cell, given: Study, results: DictResults, order: Sequence[int]) -> list[StageSpec]:
    """Return every stage that a cell asks for until it is done, each finished at once."""
    stages: list[StageSpec] = []
    while not isinstance(stage := next_stage(asked, given, results), Done):
        assert stage.key not in {s.key for s in stages}, f"{stage.kind} is asked for twice"
        stages.append(stage)
        results.finish(stage, order)
    return stages


def stage_of(kind: StageKind, asked: Cell, given: Study, results: DictResults) -> StageSpec:
    """Return the cell's stage of that kind; its ranking must be there."""
    if kind is StageKind.RANKING:
        return ranking_spec(asked, given)
    layers = chosen_layers(asked, given, results)
    assert layers is not None
    return next(stage for stage in cell_stages(asked, given, layers) if stage.kind is kind)
