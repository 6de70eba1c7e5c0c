"""Tables of a run as MLflow's artifact viewer shows them. Pure: views in, columns and rows out."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.redact import redact
from orchestrator.tracking.content.metrics import shown_metrics
from orchestrator.tracking.content.values import rounded
from orchestrator.views.grid_view import CellView, DenseView, GridView, RankingView

GATE_DECIMALS = 6


@dataclass(frozen=True)
class Table:
    """A table's column names, and its rows, each as long as the columns."""

    columns: tuple[str, ...]
    rows: tuple[Sequence[object], ...]

    def write(self, path: Path) -> None:
        """Write the table in pandas' ``split`` layout.

        MLflow shows that as a table, and ``MlflowClient.load_table`` reads it.
        """
        rows = [[_json_value(value) for value in row] for row in self.rows]
        path.write_text(
            json.dumps({"columns": self.columns, "data": rows}, allow_nan=False), encoding="utf-8"
        )


def _json_value(value: object) -> object:
    """The value, infinities and NaN as text: a browser's JSON does not know them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def gate_table(ranking: RankingView) -> Table:
    """Return every gate at every step; ``step`` counts from 1 within its round."""
    rows: list[tuple[int, int, int, float]] = []
    for round_ in ranking.rounds:
        for step, gates in enumerate(round_.gate_steps, start=1):
            for layer, gate in zip(round_.gate_layers, gates, strict=True):
                rows.append((round_.round, step, layer, round(gate, GATE_DECIMALS)))
    return Table(("round", "step", "layer", "gate"), tuple(rows))


def score_table(ranking: RankingView) -> Table:
    """Return the scores of every round's candidates, lowest first; ``removed`` marks the choice."""
    rows: list[tuple[int, int, float, str]] = []
    for round_ in ranking.rounds:
        for layer, score in sorted(round_.scores.items(), key=lambda item: item[1]):
            choice = "removed" if layer == round_.layer else ""
            rows.append((round_.round, layer, round(score, GATE_DECIMALS), choice))
    return Table(("round", "layer", "score", "choice"), tuple(rows))


def evaluation_table(cell: CellView, dense: DenseView | None) -> Table:
    """Return a cell's scores with their standard errors, beside the dense model's scores."""
    scores = cell.evaluation.scores if cell.evaluation else {}
    reference = dense.evaluation.scores if dense and dense.evaluation else {}
    rows: list[tuple[str, float, float | str, float | str]] = []
    for name, score in scores.items():
        dense_value = reference[name].value if name in reference else None
        rows.append((name, rounded(score.value), _or_empty(score.stderr), _or_empty(dense_value)))
    return Table(("metric", "value", "standard error", "dense"), tuple(rows))


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else rounded(value)


def cells_table(view: GridView) -> Table:
    """Return one row per cell: where it stands and every number known of it."""
    metrics = [shown_metrics(cell) for cell in view.cells]
    names = tuple(dict.fromkeys(name for values in metrics for name in values))
    rows: list[tuple[object, ...]] = []
    for cell, values in zip(view.cells, metrics, strict=True):
        shown = [values.get(name, "") for name in names]
        remarks = "; ".join(filter(None, (cell.reason, cell.slowed)))
        rows.append((cell.cell.name, cell.status.value, *shown, redact(remarks)))
    return Table(("cell", "status", *names, "reason"), tuple(rows))
