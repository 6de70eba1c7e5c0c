"""What stages of large models are estimated to take: the table of docs/guides/how_long.md.

    python -m benchmarks.stage_estimates

Arithmetic alone, as the scheduler does before it has measured anything: nothing is run and no model
is read. The protocol is that of jobs/grid.yaml, a quarter of the layers removed.
"""

import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.large_models import MODELS, Model
from orchestrator.grid.cells import ModelInfo, Study, text_id
from orchestrator.grid.expand import expand
from orchestrator.grid.schema import Grid, load_grid
from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.expected.durations import estimated_s
from orchestrator.scheduler.expected.effort import effort_of
from orchestrator.stages.stage_specs import StageKind, StageSpec, cell_stages, ranking_spec
from tests.rooms import ROOT
from trsp.architecture.shape import model_shape

ON_ONE_GPU = Layout(ranks=1, gpus=1)
RATIO = 0.25
LORA = {"name": "drift", "lora": {"rank": 16}}


def lines() -> Iterator[str]:
    """Yield the lines of the Markdown table: GPU-minutes of each stage, a column per model."""
    columns = [dict(_minutes(model)) for model in MODELS]
    yield f"| stage | {' | '.join(model.name for model in MODELS)} |"
    yield f"|---|{'---:|' * len(MODELS)}"
    for stage in columns[0]:
        yield f"| {stage} | {' | '.join(_text(column[stage]) for column in columns)} |"


def _text(minutes: float) -> str:
    return f"{minutes:.1f}" if minutes < 10 else f"{minutes:,.0f}"


def _minutes(model: Model) -> Iterator[tuple[str, float]]:
    """Yield each stage of a model, and the minutes that one GPU would need for it."""
    shape = model_shape(model.config)
    info = ModelInfo(
        model.name, model.name, None, model.name, shape.layers, shape=shape, stored_precision="bf16"
    )
    for selector in ("gates", "block_influence", "sleb"):
        yield f"rank, `{selector}`", _one(_ranking(info, selectors=selector), info)
    for name, transfer in (("`drift`", "drift"), ("`drift` with LoRA", LORA), ("`heal`", "heal")):
        specs = _stages(info, transfer=transfer)
        yield f"transfer, {name}", _one(specs[StageKind.TRANSFER], info)
    specs = _stages(info, transfer="none")
    yield "prune", _one(specs[StageKind.PRUNE], info)
    yield "evaluate", _one(specs[StageKind.EVALUATE], info)
    yield "measure", _one(specs[StageKind.MEASURE], info)


def _one(spec: StageSpec, info: ModelInfo) -> float:
    return estimated_s(effort_of(spec, info), ON_ONE_GPU) / 60


def _ranking(info: ModelInfo, **axes: Any) -> StageSpec:
    cell, study = _cell(info, axes)
    return ranking_spec(cell, study)


def _stages(info: ModelInfo, **axes: Any) -> dict[StageKind, StageSpec]:
    cell, study = _cell(info, axes)
    return {spec.kind: spec for spec in cell_stages(cell, study, range(cell.removed))}


def _cell(info: ModelInfo, axes: dict[str, Any]) -> tuple[Any, Study]:
    """Return the one cell with these axes, in the study of jobs/grid.yaml."""
    shared = load_grid(ROOT / "jobs" / "grid.yaml")
    grid = Grid.model_validate(
        {
            **{name: getattr(shared, name) for name in ("calibration", "evaluation", "precision")},
            "measurement": {"protocol": "paper"},
            "models": info.name,
            "ratios": RATIO,
            **axes,
        }
    )
    texts = [grid.calibration.text, *(each.text for each in grid.evaluation.perplexity)]
    benchmarks = grid.evaluation.benchmarks
    assert benchmarks
    study = Study(
        calibration=grid.calibration,
        evaluation=grid.evaluation,
        measurement=grid.measurement,
        precision=grid.precision,
        hardware="H100",
        text_fingerprints={text_id(text): text.name for text in texts},
        benchmark_fingerprints=dict.fromkeys(benchmarks.tasks, ""),
    )
    return expand(grid, {info.name: info}).cells[0], study


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lines())
