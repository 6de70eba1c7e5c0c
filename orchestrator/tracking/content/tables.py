"""Tables of a grid as MLflow's artifact viewer shows them. Pure: views in, columns and rows out."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.tracking.content.redact import redact
from orchestrator.tracking.content.values import rounded
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView

GATE_DECIMALS = 6


@dataclass(frozen=True)
class Table:
    columns: tuple[str, ...]
    rows: tuple[Sequence[object], ...]

    def write(self, path: Path) -> None:
        """pandas' ``split`` layout, which MLflow shows as a table and ``MlflowClient.load_table`` reads."""
        rows = [[_json_value(value) for value in row] for row in self.rows]
        path.write_text(
            json.dumps({"columns": self.columns, "data": rows}, allow_nan=False), encoding="utf-8"
        )


def _json_value(value: object) -> object:
    """A browser's JSON knows no infinity: as text, the table still opens."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def gate_table(rank: RankingView) -> Table:
    """Every gate at every step; ``step`` counts from 1 within its round."""
    rows = [
        (round_.round, step, layer, round(gate, GATE_DECIMALS))
        for round_ in rank.rounds
        for step, gates in enumerate(round_.gate_steps, start=1)
        for layer, gate in zip(round_.gate_layers, gates, strict=True)
    ]
    return Table(("round", "step", "layer", "gate"), tuple(rows))


def score_table(rank: RankingView) -> Table:
    """What every choice was made by, lowest first; ``removed`` marks the choice."""
    rows = [
        (
            round_.round,
            layer,
            round(score, GATE_DECIMALS),
            "removed" if layer == round_.layer else "",
        )
        for round_ in rank.rounds
        for layer, score in sorted(round_.scores.items(), key=lambda item: item[1])
    ]
    return Table(("round", "layer", "score", "choice"), tuple(rows))


def evaluation_table(cell: CellView, dense: DenseView | None) -> Table:
    """Scores beside the dense model's, with standard errors."""
    scores = cell.evaluation.scores if cell.evaluation else {}
    reference = dense.evaluation.scores if dense and dense.evaluation else {}
    rows = [
        (
            name,
            rounded(score.value),
            _maybe(score.stderr),
            _maybe(reference[name].value if name in reference else None),
        )
        for name, score in scores.items()
    ]
    return Table(("metric", "value", "standard error", "dense"), tuple(rows))


def _maybe(value: float | None) -> float | str:
    return "" if value is None else rounded(value)


def cells_table(view: GridView) -> Table:
    """One row a cell: where it stands and every number known of it."""
    metrics = [
        {name: rounded(value) for name, value in cell.metrics().items()} for cell in view.cells
    ]
    names = tuple(dict.fromkeys(name for found in metrics for name in found))
    rows = [
        (
            cell.cell.name,
            cell.status.value,
            *(found.get(name, "") for name in names),
            redact(cell.reason),
        )
        for cell, found in zip(view.cells, metrics, strict=True)
    ]
    return Table(("cell", "status", *names, "reason"), tuple(rows))
