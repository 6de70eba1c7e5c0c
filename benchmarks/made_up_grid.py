"""A large grid whose stages are made up, for benchmarks of the driver: nothing is computed.

Two models share the cells; a training of the large one takes two GPUs.
"""

import random
from collections.abc import Mapping
from typing import Any

from orchestrator.grid.cells import ModelInfo, Study, text_id
from orchestrator.grid.expand import expand
from orchestrator.grid.schema import Grid
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec, cell_stages, ranking_spec
from orchestrator.store.claims import Ticket
from orchestrator.store.store import Store
from trsp.architecture.shape import model_shape
from trsp.config import MeasurementSettings
from trsp.records import RoundRecord

LAYERS = 32
MODELS = {"small": 1024, "large": 4096}  # width
RATIOS = [round(0.05 * step, 2) for step in range(1, 11)]
GATE_L1 = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
DRIFT = [10.0**-step for step in range(1, 11)]
CELLS_PER_SEED = len(MODELS) * len(RATIOS) * len(GATE_L1) * len(DRIFT)


def grid_of(cells: int, uri: str) -> Resolved:
    """Return a grid of so many cells on a store; nothing that it names need exist."""
    text = {"name": "wiki", "path": "/texts/wiki.jsonl"}
    grid = Grid.model_validate(
        {
            "name": "scale",
            "models": [{"name": name, "source": f"/models/{name}"} for name in MODELS],
            "calibration": {"text": text, "blocks": 64, "block_tokens": 2048},
            "evaluation": {"perplexity": [{"text": text, "window_tokens": 2048}]},
            "ratios": RATIOS,
            "gate_l1": GATE_L1,
            "drift": DRIFT,
            "seeds": list(range(cells // CELLS_PER_SEED)),
            "transfer": {"name": "drift", "blocks_per_step": 16},
            "storage": {"store": uri},
        }
    )
    texts = [grid.calibration.text, *(each.text for each in grid.evaluation.perplexity)]
    names = {text_id(each): f"sha256:{each.name}" for each in texts}
    measurement = MeasurementSettings.model_validate({})
    study = Study(grid.calibration, grid.evaluation, measurement, "auto", "H100", names)
    models = {name: model_info(name, width) for name, width in MODELS.items()}
    resolved = Resolved(grid, models, study, expand(grid, models))
    assert len(resolved.cells) == cells, len(resolved.cells)
    return resolved


def model_info(name: str, width: int) -> ModelInfo:
    """Return a made-up model of this width."""
    shape = model_shape(
        {
            "model_type": "llama",
            "vocab_size": 32000,
            "dtype": "bfloat16",
            "hidden_size": width,
            "intermediate_size": 11 * width // 4,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": width // 128,
        }
    )
    return ModelInfo(name, f"/models/{name}", None, f"sha256:{name}", LAYERS, shape=shape)


def finish(store: Store, spec: StageSpec, ticket: Ticket) -> None:
    """Leave in the store what the stage would, with numbers that look true."""
    if spec.kind is StageKind.RANKING:
        order = random.Random(spec.key).sample(range(LAYERS), LAYERS)
        for number in range(spec.depth):
            scores = dict.fromkeys(order[number:], 0.5)
            record = RoundRecord(round=number, layer=order[number], scores=scores, seconds=60)
            store.rankings.publish(ticket, record)
        return
    keeps_files = spec.kind in (StageKind.TRANSFER, StageKind.PRUNE)
    with store.stages.staging(ticket) as folder:
        (folder / "config.json").write_text("{}", encoding="utf-8")
        files = folder if keeps_files else None
        store.stages.commit(ticket, spec, _record(spec), files, {"torch": "2.9"})
    if keeps_files is False:
        folder.joinpath("config.json").unlink()
        folder.rmdir()


def _record(spec: StageSpec) -> Mapping[str, Any]:
    layers = list(spec.inputs.get("layers", ()))
    size = {
        "removed_layers": layers,
        "layers": LAYERS - len(layers),
        "params": 10**9,
        "size_bytes": 2 * 10**9,
        "kv_bytes_per_token": 4096,
        "seconds": 20.0,
    }
    nll = [2.5 + window / 1000 for window in range(100)]
    scores = {"scores": {"perplexity/wiki": {"value": 20.0, "stderr": 0.1}}, "seconds": 50.0}
    steps = [2.0 + step / 1000 for step in range(200)]
    speeds = ("prompt_latency_ms", "prompt_tokens_per_s", "generate_latency_ms")
    numbers = dict.fromkeys((*speeds, "generate_tokens_per_s", "peak_memory_bytes"), 9)
    records: dict[StageKind, Mapping[str, Any]] = {
        StageKind.TRANSFER: {"layers": layers, "lm_loss": steps, "drift": steps, "seconds": 900.0},
        StageKind.PRUNE: size,
        StageKind.EVALUATE: {**scores, "window_nll": {"wiki": nll}},
        StageKind.DENSE: {"checkpoint": size, "evaluation": scores, "seconds": 50.0},
        StageKind.MEASURE: {**numbers, "hardware": "H100", "noise": "", "seconds": 30.0},
    }
    return records[spec.kind]


def seed(resolved: Resolved) -> None:
    """Finish every ranking, and the first fifth of the cells."""
    store, study = Store(resolved.grid.storage.store), resolved.study
    done: set[str] = set()
    for cell in resolved.cells:
        spec = ranking_spec(cell, study, depth=LAYERS // 2)
        if spec.key not in done:
            finish(store, spec, Ticket(spec.key, 0, "seed"))
            done.add(spec.key)
    for cell in resolved.cells[::5]:
        layers = [r.layer for r in store.rankings.rounds(ranking_spec(cell, study).key)]
        for stage in cell_stages(cell, study, layers[: cell.removed]):
            if stage.key not in done:
                finish(store, stage, Ticket(stage.key, 0, "seed"))
                done.add(stage.key)
            if stage.kind is StageKind.PRUNE:
                store.stages.drop_files(stage.reads[0])
