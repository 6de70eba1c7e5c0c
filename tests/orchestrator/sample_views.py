"""A small grid at the moments of its life, made by hand.

The tests of the tracker, of the printed report and of the browser show it.
"""

from dataclasses import replace
from pathlib import Path

from orchestrator.grid.cells import Cell, ModelInfo
from orchestrator.grid.labels import named
from orchestrator.grid.shorthand import WrittenNumber, shortest
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView, Status
from trsp.config import BlockInfluenceSettings, DriftSettings, GatesSettings, NoTransfer, Selector
from trsp.records import (
    CheckpointRecord,
    EvaluationRecord,
    MeasurementRecord,
    RoundRecord,
    Score,
    TransferRecord,
)

LAYERS, ROUNDS, STEPS = 12, 4, 5
MODEL = ModelInfo("Tiny-1.5M", "/models/tiny", None, "model-fingerprint", LAYERS)
ORDER = (7, 3, 8, 10)
DENSE_PPL = 27.56341


def gate_round(number: int) -> RoundRecord:
    layers = tuple(layer for layer in range(LAYERS) if layer not in ORDER[:number])
    steps = tuple(
        tuple(1 - 0.01 * (number * STEPS + step + 1) * (0.5 + _weakness(layer)) for layer in layers)
        for step in range(STEPS)
    )
    scores = dict(zip(layers, steps[-1], strict=True))
    return RoundRecord(
        round=number,
        layer=ORDER[number],
        scores=scores,
        gate_layers=layers,
        gate_steps=steps,
        lm_loss=tuple(2.9 + 0.1 * number - 0.01 * step for step in range(STEPS)),
        seconds=12.5,
    )


def _weakness(layer: int) -> float:
    return 2.0 - 0.4 * ORDER.index(layer) if layer in ORDER else 0.05 * layer


def influence_round(number: int) -> RoundRecord:
    scores = {
        layer: 0.3 - 0.1 * _weakness(layer)
        for layer in range(LAYERS)
        if layer not in ORDER[:number]
    }
    return RoundRecord(
        round=number, layer=ORDER[number], scores=scores, seconds=1.0 if number == 0 else 0.0
    )


def ranking_view(
    selector: str, gate_l1: float | None, rounds: int, status: Status, cells: tuple[str, ...]
) -> RankingView:
    round_record = gate_round if selector == "gates" else influence_round
    return RankingView(
        key=f"rank-{selector}-{gate_l1 or 0}",
        name=f"{selector} l1={shortest(gate_l1)}" if gate_l1 else selector,
        model=MODEL.name,
        selector=selector,
        gate_l1=gate_l1,
        seed=0,
        depth=ROUNDS,
        rounds=tuple(round_record(number) for number in range(rounds)),
        cells=cells,
        status=status,
    )


def dense_view(status: Status = Status.DONE) -> DenseView:
    if status is not Status.DONE:
        return DenseView(MODEL, status)
    checkpoint = checkpoint_record((), kept=1.0)
    return DenseView(MODEL, status, checkpoint=checkpoint, evaluation=evaluation(DENSE_PPL, 0.451))


def evaluation(perplexity: float, accuracy: float) -> EvaluationRecord:
    scores = {
        "perplexity/wiki": Score(value=perplexity, stderr=0.31),
        "perplexity/c4": Score(value=perplexity * 1.43),
        "piqa/acc_norm": Score(value=accuracy + 0.1, stderr=0.05),
        "arc_easy/acc_norm": Score(value=accuracy - 0.1, stderr=0.05),
        "accuracy": Score(value=accuracy),
    }
    return EvaluationRecord(scores=scores, seconds=20.0)


def cells() -> tuple[Cell, ...]:
    """2 ratios x 2 lambda_1 with gates and drift; block influence without training at both."""
    methods: list[tuple[Selector, float | None]] = [
        (GatesSettings(), 1e-3),
        (GatesSettings(), 5e-3),
        (BlockInfluenceSettings(), None),
    ]
    ratios = WrittenNumber(1 / 6, "1/6"), WrittenNumber(1 / 3, "1/3")
    made = tuple(
        _cell(selector, ratio, gate_l1) for ratio in ratios for selector, gate_l1 in methods
    )
    return named(made, several_models=False)


def _cell(selector: Selector, ratio: float, gate_l1: float | None) -> Cell:
    drift = gate_l1 and 1e-3
    transfer = NoTransfer() if gate_l1 is None else DriftSettings()
    labels = selector.name, transfer.name
    return Cell(MODEL, selector, ratio, gate_l1, transfer, drift, 0, *labels)


def ranking_key(cell: Cell) -> str:
    return f"rank-{cell.selector.name}-{cell.gate_l1 or 0}"


def waiting(cell: Cell) -> CellView:
    return CellView(
        cell, ranking_key(cell), Status.WAITING, stage="rank", reason="its ranking runs"
    )


def perplexity(cell: Cell) -> float:
    """Different for every cell of the sample, and not in the cells' own order."""
    method = 9.87654 if cell.selector.name == "block_influence" else 0.002 / (cell.gate_l1 or 1)
    return 30 + 70 * cell.ratio + method


def done(cell: Cell, store: Path) -> CellView:
    """The cell when all of it is done; its checkpoint is a folder in ``store``."""
    layers = ORDER[: cell.removed]
    kept = 1 - 0.07 * cell.removed
    trained = cell.gate_l1 is not None
    folder = store / f"prune-{cell.key[-8:]}" / "checkpoint"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    seconds = {"rank": 1.0, "prune": 1.2}
    if trained:
        seconds = {"rank": 50.0, "transfer": 33.3, "prune": 1.2, "evaluate": 20.0}
    return CellView(
        cell,
        ranking_key(cell),
        Status.DONE,
        stage="evaluate",
        layers=layers,
        stage_keys={
            "rank": ranking_key(cell),
            "prune": f"prune-{cell.key[-8:]}",
            "evaluate": f"evaluate-{cell.key[-8:]}",
        },
        transfer=transfer_record(layers) if trained else None,
        checkpoint=checkpoint_record(layers, kept),
        checkpoint_uri=str(folder),
        evaluation=evaluation(perplexity(cell), 0.45 - 0.3 * cell.ratio),
        measurement=measurement_record(kept),
        seconds=seconds,
    )


def checkpoint_record(layers: tuple[int, ...], kept: float) -> CheckpointRecord:
    """The record without these layers, of which a share of ``kept`` of the weights is left."""
    return CheckpointRecord(
        removed_layers=tuple(sorted(layers)),
        layers=LAYERS - len(layers),
        params=int(1_500_000 * kept),
        size_bytes=int(3_000_000 * kept),
        kv_bytes_per_token=80 * (LAYERS - len(layers)),
    )


def measurement_record(kept: float) -> MeasurementRecord:
    """The speed of a model with a share of ``kept`` of the weights."""
    return MeasurementRecord(
        hardware="cpu",
        prompt_latency_ms=120.125 * kept,
        prompt_tokens_per_s=1066.0 / kept,
        generate_latency_ms=340.0 * kept,
        generate_tokens_per_s=94.0 / kept,
        peak_memory_bytes=900_000_000,
    )


def transfer_record(layers: tuple[int, ...], steps: int = 16) -> TransferRecord:
    return TransferRecord(
        layers=layers,
        lm_loss=tuple(2.7 + 0.05 * step - 0.002 * step**2 for step in range(steps)),
        drift=tuple(1.9 * (1 - step / steps) for step in range(steps)),
        branch_scale=tuple(max(0.0, 1 - step / (0.75 * steps)) for step in range(steps)),
        tokens=16384,
        seconds=33.3,
    )


def grid_view(
    cell_views: tuple[CellView, ...], rounds: int, status: Status = Status.RUNNING
) -> GridView:
    """``rounds`` published so far by the gate rankings; block influence is done at once."""
    gates_status = Status.DONE if rounds >= ROUNDS else Status.RUNNING
    keys: dict[tuple[str, float | None], list[str]] = {}
    for view in cell_views:
        keys.setdefault((view.cell.selector.name, view.cell.gate_l1), []).append(view.cell.key)
    rankings: list[RankingView] = []
    for (selector, gate_l1), users in keys.items():
        published, ranked = (rounds, gates_status) if selector == "gates" else (ROUNDS, Status.DONE)
        rankings.append(ranking_view(selector, gate_l1, published, ranked, tuple(users)))
    settings = {
        "models": ["/models/tiny"],
        "tracking": {"uri": "postgresql://me:sesame@db/mlflow", "password": "sesame"},
    }
    return GridView(
        key="grid-0123456789abcdef",
        name="sample",
        cells=cell_views,
        rankings=tuple(rankings),
        dense=(dense_view(),),
        settings=settings,
        status=status,
    )


def finished(store: Path) -> GridView:
    return grid_view(tuple(done(cell, store) for cell in cells()), ROUNDS, Status.DONE)


def story(store: Path) -> tuple[GridView, ...]:
    """The moments of one grid, in order.

    All wait; the rankings go round by round; cells finish one by one, and one fails.
    """
    every = cells()
    views = [
        replace(grid_view(tuple(waiting(c) for c in every), 0), dense=(dense_view(Status.RUNNING),))
    ]
    views += [
        grid_view(tuple(waiting(c) for c in every), rounds) for rounds in range(1, ROUNDS + 1)
    ]
    finals = [done(c, store) for c in every[:-1]]
    finals.append(
        replace(
            waiting(every[-1]),
            status=Status.FAILED,
            stage="evaluate",
            reason="the text is too short",
        )
    )
    now = [waiting(c) for c in every]
    for i, (cell, final) in enumerate(zip(every, finals, strict=True)):
        now[i] = replace(
            waiting(cell), status=Status.RUNNING, stage="transfer", layers=ORDER[: cell.removed]
        )
        views.append(grid_view(tuple(now), ROUNDS))
        now[i] = final
        views.append(grid_view(tuple(now), ROUNDS))
    return (*views, replace(views[-1], status=Status.FAILED, reason="1 of 6 cells failed"))
