"""Models of three sizes, and the stages of a cell, for the tests of layouts."""

from typing import Any

from orchestrator.grid.cells import Cell, ModelInfo, Study, text_id
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.chooser import LayoutChooser
from orchestrator.layouts.layout import Layout
from orchestrator.stages.stage_specs import (
    StageKind,
    StageSpec,
    cell_stages,
    dense_spec,
    ranking_spec,
)
from tests.orchestrator.sample_grids import grid, model
from trsp.architecture.shape import ModelShape, model_shape
from trsp.config import DriftSettings, GatesSettings, HealSettings, Selector


def llama(**settings: Any) -> ModelShape:
    return model_shape(
        {"model_type": "llama", "vocab_size": 32000, "dtype": "bfloat16", **settings}
    )


SMALL = llama(
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
)
B7 = llama(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32)
B70 = llama(
    hidden_size=8192,
    intermediate_size=28672,
    num_hidden_layers=80,
    num_attention_heads=64,
    num_key_value_heads=8,
    vocab_size=128256,
)


def stages(
    selector: Selector | None = None,
    transfer: DriftSettings | HealSettings | None = None,
    tokens: int = 2048,
) -> dict[StageKind, StageSpec]:
    """Return the stages of a cell and of its unpruned model, by kind."""
    calibration = {
        "text": {"name": "wiki", "path": "wiki.jsonl"},
        "blocks": 16,
        "block_tokens": tokens,
    }
    sample = grid(calibration=calibration)
    texts = [sample.calibration.text, *(each.text for each in sample.evaluation.perplexity)]
    names = {text_id(text): text_id(text) for text in texts}
    study = Study(sample.calibration, sample.evaluation, sample.measurement, "auto", "", names)
    info: ModelInfo = model()
    selector, transfer = selector or GatesSettings(), transfer or DriftSettings(blocks_per_step=16)
    cell = Cell(info, selector, 0.2, 1e-3, transfer, 1.0, 0)
    specs = [ranking_spec(cell, study), *cell_stages(cell, study, (1, 2)), dense_spec(info, study)]
    return {spec.kind: spec for spec in specs}


def chosen_by(
    chooser: LayoutChooser, spec: StageSpec, capacity: Capacity, most: Capacity
) -> Layout:
    """Return the layout of the stage's next attempt; KeyError where nothing fits."""
    return chooser.choose_all([spec], capacity, most).layouts[spec.key]
