"""Grids of models of 1B to 70B parameters for simulations: real stages and layouts, made-up time.

A stage's layout is what the estimate of memory gives it on nodes of eight GPUs of 80 GB: an eighth
of a GPU to 32 of them. Its GPU seconds go by the model's parameters, and by the ratios of the
demo's stages as they were measured (a training of stage two: 117 s). What is expected is wrong by a
factor, one for all stages of a model and kind, and another for each stage.
"""

import math
import random
from collections.abc import Sequence

from orchestrator.grid.cells import ModelInfo, Study, text_id
from orchestrator.grid.expand import expand
from orchestrator.grid.schema import Grid
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.kinds import layouts_for
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.memory import Correction
from orchestrator.layouts.workload import work_of
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec
from trsp.architecture.shape import model_shape
from trsp.config import MeasurementSettings

GPUS_PER_NODE = 8
NODE = Capacity(96, GPUS_PER_NODE, 1500 * 10**9, 80 * 10**9, gpu_type="H100")
# Width, width of the MLP, layers, heads, heads of keys and values.
MODELS = {
    "1B": (2048, 5504, 16, 32, 8),
    "3B": (3072, 8192, 28, 24, 8),
    "7B": (4096, 11008, 32, 32, 32),
    "13B": (5120, 13824, 40, 40, 40),
    "34B": (7168, 20480, 60, 56, 8),
    "70B": (8192, 28672, 80, 64, 8),
}
LARGEST_FROM_GPUS = 64  # 70B takes the place of 34B
RATIOS = [0.1, 0.2, 0.3, 0.4, 0.5]
# Strengths of gates and of drift, by the number of cells of five models and as many ratios.
AXES = {50: (1, 2), 200: (2, 4), 1000: (4, 10), 5000: (10, 20)}

TRANSFER_GPU_S = 240.0  # per billion parameters
# Of a transfer's GPU seconds. A ranking's are of its first round; later ones have fewer layers.
PARTS = {
    StageKind.RANKING: 0.25,
    StageKind.TRANSFER: 1.0,
    StageKind.EVALUATE: 0.27,
    StageKind.DENSE: 0.29,
    StageKind.MEASURE: 0.25,
}
PRUNE_S = 5.0  # per billion parameters, on one CPU
START_S = 10.0  # of a stage, whatever it computes


def mixed_grid(cells: int, gpus: int) -> Resolved:
    """Return a grid of so many cells for a cluster of so many GPUs; nothing in it need exist."""
    text = {"name": "wiki", "path": "/texts/wiki.jsonl"}
    names = ["1B", "3B", "7B", "13B", "70B" if gpus >= LARGEST_FROM_GPUS else "34B"]
    gates, drifts = AXES[cells]
    grid = Grid.model_validate(
        {
            "name": "mixed",
            "models": [{"name": name, "source": f"/models/{name}"} for name in names],
            "calibration": {"text": text, "blocks": 64, "block_tokens": 2048},
            "evaluation": {"perplexity": [{"text": text, "window_tokens": 2048}]},
            "ratios": RATIOS,
            "gate_l1": [1e-4 * step for step in range(1, gates + 1)],
            "drift": [0.01 * step for step in range(1, drifts + 1)],
            "transfer": {"name": "drift", "blocks_per_step": 16},
            "storage": {"store": "/nowhere"},
        }
    )
    texts = [grid.calibration.text, *(each.text for each in grid.evaluation.perplexity)]
    found = {text_id(each): f"sha256:{each.name}" for each in texts}
    measurement = MeasurementSettings.model_validate({})
    study = Study(grid.calibration, grid.evaluation, measurement, "auto", "H100", found)
    models = {name: _model(name) for name in names}
    resolved = Resolved(grid, models, study, expand(grid, models))
    assert len(resolved.cells) == cells, len(resolved.cells)
    return resolved


def _model(name: str) -> ModelInfo:
    width, mlp, layers, heads, key_heads = MODELS[name]
    config = {
        "model_type": "llama",
        "vocab_size": 32000,
        "dtype": "bfloat16",
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
    }
    shape = model_shape(config)
    return ModelInfo(name, f"/models/{name}", None, f"sha256:{name}", layers, shape=shape)


class MixedCosts:
    """The layout of each stage of a grid, and how long it takes."""

    def __init__(self, resolved: Resolved, cluster: Capacity, spread: float, seed: int = 0) -> None:
        """``spread``: the standard deviation of the logarithm of expected over true seconds."""
        self._resolved, self._cluster = resolved, cluster
        self._spread, self._seed = spread, seed
        self._layouts: dict[object, tuple[Layout, ...]] = {}

    def layouts(self, spec: StageSpec) -> tuple[Layout, ...]:
        """Return the layouts that the estimate of memory gives a stage, the best first."""
        alike = spec.locations["model"]["name"], work_of(spec)
        if alike not in self._layouts:
            grid, shape = self._resolved.grid, self._model_of(spec).shape
            settings = grid.resources, grid.engine
            found = layouts_for(spec, shape, self._cluster, *settings, _as_estimated, ("",))
            assert isinstance(found, tuple), found
            self._layouts[alike] = found
        return self._layouts[alike]

    def true(self, spec: StageSpec, layout: Layout) -> Sequence[float]:
        """Return the seconds of a stage in a layout, or of each round of a ranking."""
        model = self._model_of(spec)
        assert model.shape is not None
        billions = model.shape.params / 1e9
        if spec.kind is StageKind.PRUNE:
            return (START_S + PRUNE_S * billions,)
        gpus = layout.ranks * layout.gpus
        all_s = PARTS[spec.kind] * TRANSFER_GPU_S * billions / gpus
        if spec.kind is StageKind.RANKING:
            left = [1 - number / model.layers for number in range(spec.depth)]
            return (START_S + all_s, *(all_s * part for part in left[1:]))
        removed = len(spec.inputs.get("layers", ()))
        kept = 1 - removed / model.layers if spec.kind is StageKind.EVALUATE else 1.0
        return (START_S + all_s * kept,)

    def expected(self, spec: StageSpec, layout: Layout) -> Sequence[float]:
        """Return the seconds that a scheduler expects: the true ones, wrong by a factor."""
        common = f"{self._seed} {spec.locations['model']['name']} {spec.kind}"
        factor = self._factor(common) * self._factor(f"{self._seed} {spec.key}")
        return [seconds * factor for seconds in self.true(spec, layout)]

    def gpu_s(self, spec: StageSpec) -> float:
        """Return the GPU seconds of a stage."""
        layout = self.layouts(spec)[0]
        return sum(self.true(spec, layout)) * layout.ranks * layout.gpus

    def _factor(self, text: str) -> float:
        return math.exp(random.Random(text).gauss(0.0, self._spread / math.sqrt(2)))

    def _model_of(self, spec: StageSpec) -> ModelInfo:
        return self._resolved.models[spec.locations["model"]["name"]]


def _as_estimated(capacity: Capacity) -> Correction:
    return Correction()
