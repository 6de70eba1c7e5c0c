"""A finished grid of 240 cells of two models, made up: what pages and pictures have to hold."""

import random
from dataclasses import replace

from orchestrator.grid.cells import Cell, ModelInfo
from orchestrator.grid.expand import expand
from orchestrator.grid.schema import Grid
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView, Status
from tests.orchestrator.sample_grids import CALIBRATION, EVALUATION
from trsp.records import (
    CheckpointRecord,
    EvaluationRecord,
    MeasurementRecord,
    RoundRecord,
    Score,
    Spread,
)

LAYERS = 32
MODELS = {
    name: ModelInfo(name, f"/models/{name}", None, f"sha256:{name}", LAYERS)
    for name in ("Llama-2-7b-hf", "Mistral-7B-v0.3")
}
PARAMS, DENSE_PPL = 6.7e9, 5.5


def large_grid() -> Grid:
    """Return the grid as its file would say it."""
    controls = {"selectors": ["block_influence", "sleb", "reverse"], "transfer": ["none", "heal"]}
    chances = {"selectors": "random", "transfer": "none", "seeds": [0, 1, 2]}
    paper = {"selectors": {"name": "gates", "preset": "paper"}, "transfer": ["drift"]}
    return Grid.model_validate(
        {
            "name": "large",
            "models": [{"name": name, "source": info.source} for name, info in MODELS.items()],
            "calibration": CALIBRATION,
            "evaluation": EVALUATION,
            "ratios": [0.1, 0.2, 0.3, 0.4, 0.5],
            "gate_l1": [1e-3, 5e-3, 1e-2],
            "transfer": ["drift", "none", "heal"],
            "include": [controls, chances, {**paper, "drift": [1e-4, 1e-3]}],
            "budgets": [{"max_params": "5B"}, {"max_params": "6B"}, {"max_bytes": "8GB"}],
        }
    )


def large_view() -> GridView:
    """Return the grid as it is when all of it is done, but for three cells that failed."""
    grid = large_grid()
    cells = [_done(cell) for cell in expand(grid, MODELS).cells]
    for index in (20, 21, 22):
        reason = "CUDA out of memory: 81.2 GB were asked for, and 79.1 GB are there"
        cells[index] = replace(
            cells[index],
            status=Status.FAILED,
            stage="transfer",
            reason=reason,
            evaluation=None,
            measurement=None,
            checkpoint=None,
            checkpoint_uri=None,
        )
    return GridView(
        key="grid-0123456789abcdef",
        name=grid.name,
        cells=tuple(cells),
        rankings=tuple(_rankings(cells)),
        dense=tuple(_dense(model) for model in MODELS.values()),
        settings=grid.model_dump(mode="json"),
        metrics=grid.headline_metrics,
        budgets=grid.budgets,
        status=Status.FAILED,
        reason="3 of 242 failed",
    )


def _ranking_key(cell: Cell) -> str:
    label = cell.selector_label or cell.selector.name
    return f"rank-{cell.model.name}-{label}-{cell.gate_l1}-{cell.seed}"


def _order(key: str) -> list[int]:
    return random.Random(key).sample(range(2, LAYERS), LAYERS - 2)


def _done(cell: Cell) -> CellView:
    chance = random.Random(cell.key)
    layers = tuple(_order(_ranking_key(cell))[: cell.removed])
    kept = 1 - cell.removed / LAYERS
    worse = {"drift": 3.0, "heal": 2.4, "none": 9.0}[cell.transfer.name]
    value = DENSE_PPL * (1 + worse * (1 - kept) ** 2 * chance.uniform(0.8, 1.6))
    return CellView(
        cell,
        _ranking_key(cell),
        Status.DONE,
        layers=layers,
        stage_keys={"prune": f"prune-{cell.key}", "evaluate": f"evaluate-{cell.key}"},
        checkpoint=_size(layers, kept),
        checkpoint_uri=f"s3://trsp/stages/prune/prune-{cell.key}/files",
        evaluation=_scores(value),
        measurement=_speed(kept),
        seconds={"prune": 60.0, "evaluate": 300.0},
    )


def _size(layers: tuple[int, ...], kept: float) -> CheckpointRecord:
    return CheckpointRecord(
        removed_layers=tuple(sorted(layers)),
        layers=LAYERS - len(layers),
        params=int(PARAMS * kept),
        size_bytes=int(2 * PARAMS * kept),
        kv_bytes_per_token=16384 * (LAYERS - len(layers)),
    )


def _scores(value: float) -> EvaluationRecord:
    return EvaluationRecord(scores={"perplexity/wiki": Score(value=value, stderr=0.02 * value)})


def _speed(kept: float) -> MeasurementRecord:
    return MeasurementRecord(
        hardware="NVIDIA H100",
        prompt_latency_ms=210 * kept,
        prompt_tokens_per_s=9700 / kept,
        generate_latency_ms=900 * kept,
        generate_tokens_per_s=140 / kept,
        peak_memory_bytes=int(2.2 * PARAMS * kept),
        prompt_spread=Spread(repeats=10, median_ms=210 * kept, stdev_ms=4),
        noise="",
    )


def _rankings(cells: list[CellView]) -> list[RankingView]:
    users: dict[str, list[Cell]] = {}
    for view in cells:
        users.setdefault(view.ranking_key, []).append(view.cell)
    return [_ranking(key, shared) for key, shared in users.items()]


def _ranking(key: str, shared: list[Cell]) -> RankingView:
    first, depth = shared[0], max(cell.removed for cell in shared)
    order = _order(key)
    rounds = tuple(
        RoundRecord(
            round=number,
            layer=order[number],
            scores={layer: 0.5 + 0.01 * layer for layer in order[number:]},
            seconds=90.0,
        )
        for number in range(depth)
    )
    return RankingView(
        key=key,
        name=first.ranking_name,
        model=first.model.name,
        selector=first.selector_label or first.selector.name,
        gate_l1=first.gate_l1,
        seed=first.seed,
        depth=depth,
        rounds=rounds,
        cells=tuple(cell.key for cell in shared),
        status=Status.DONE,
    )


def _dense(model: ModelInfo) -> DenseView:
    return DenseView(
        model,
        Status.DONE,
        checkpoint=_size((), 1.0),
        evaluation=_scores(DENSE_PPL),
        measurement=_speed(1.0),
    )
