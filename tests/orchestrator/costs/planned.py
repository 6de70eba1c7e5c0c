"""Grids of a 7B llama that is nowhere, and what they cost on machines that are made up."""

from dataclasses import replace
from typing import Any

from orchestrator.costs.cost import GridCost, KindCost
from orchestrator.costs.machine import Machine
from orchestrator.costs.of_grid import cost_of
from orchestrator.grid.cells import Study, text_id
from orchestrator.grid.expand import expand
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind
from tests.orchestrator.sample_grids import grid, model
from trsp.architecture.shape import model_shape

CONFIG = {
    "model_type": "llama",
    "vocab_size": 32000,
    "dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
SHAPE = model_shape(CONFIG)
BYTES = 2 * SHAPE.params  # of the whole model in bf16
LAYER_BYTES = 2 * SHAPE.layer_params
TWO_CORES = Machine(Capacity(2), Resources(use_gpus=False))


def gpus(number: int, gpu_type: str = "", memory_gb: int = 80, host_gb: int = 0) -> Machine:
    """Return one node of so many GPUs; of a host of 0 GB nothing is known."""
    capacity = Capacity(16 * number, number, host_gb * 10**9, memory_gb * 10**9)
    return Machine(capacity, Resources(use_gpus=True), gpu_type)


def of_7b(**changes: Any) -> Resolved:
    """Return a grid of one cell without training, which removes 8 of the 32 layers; changed."""
    settings = grid(**({"ratios": 0.25, "transfer": "none"} | changes))
    texts = [settings.calibration.text, *(each.text for each in settings.evaluation.perplexity)]
    study = Study(
        settings.calibration,
        settings.evaluation,
        settings.measurement,
        settings.precision,
        "cpu",
        {text_id(text): f"sha256:{text.name}" for text in texts},
    )
    models = {each.name: replace(model(each.name, 32), shape=SHAPE) for each in settings.models}
    return Resolved(settings, models, study, expand(settings, models))


def cost(machine: Machine = TWO_CORES, price: float | None = None, **changes: Any) -> GridCost:
    """Return what such a grid costs, of which nothing is done."""
    return cost_of(of_7b(**changes), machine, price)


def of_kind(found: GridCost, kind: StageKind) -> KindCost:
    """Return what the stages of one kind cost."""
    (one,) = [each for each in found.kinds if each.kind == kind]
    return one
