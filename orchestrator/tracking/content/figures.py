"""Figures of a ranking, drawn with matplotlib. Knows views, not MLflow or the store."""

import math
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from orchestrator.views.grid_view import RankingView
from trsp.records import RoundRecord

GREY = "#d9d9d9"
RED = "#d62728"


def round_values(round_: RoundRecord) -> dict[int, float]:
    """The gates after the round's last step; for selectors without gates, the scores of its candidates."""
    if round_.gate_steps:
        return dict(zip(round_.gate_layers, round_.gate_steps[-1], strict=True))
    return round_.scores


def heatmap_rows(rank: RankingView) -> list[list[float]]:
    """One row a round, one column a layer from 0 to the highest one seen; NaN where a layer was no longer there."""
    values = [round_values(round_) for round_ in rank.rounds]
    width = 1 + max((layer for found in values for layer in found), default=-1)
    return [[found.get(layer, math.nan) for layer in range(width)] for found in values]


def heatmap(rank: RankingView) -> Figure:
    """Rounds x layers. Grey: already removed. A red frame and cross: removed in this round."""
    rows = heatmap_rows(rank)
    if not rows or not rows[0]:
        raise ValueError(f"{rank.name}: no gates and no scores to draw")
    width = len(rows[0])
    figure = Figure(
        figsize=(max(6.0, 2.5 + 0.32 * width), max(2.8, 1.7 + 0.32 * len(rows))),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_facecolor(GREY)
    image = axes.imshow(rows, aspect="auto", cmap="viridis", interpolation="nearest")
    removed = [round_.layer for round_ in rank.rounds]
    axes.scatter(removed, range(len(rows)), marker="x", s=70, color="white", linewidths=4, zorder=2)
    axes.scatter(removed, range(len(rows)), marker="x", s=60, color=RED, linewidths=2, zorder=3)
    axes.set_xticks(range(0, width, 1 if width <= 48 else 4))
    axes.set_yticks(range(len(rows)), [str(round_.round) for round_ in rank.rounds])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("layer (0-based, original model)")
    axes.set_ylabel("round")
    gates = any(round_.gate_steps for round_ in rank.rounds)
    axes.set_title(
        f"{rank.name}: {'gates after each round' if gates else 'scores'}, × removed in that round",
        fontsize=10,
    )
    figure.colorbar(image, ax=axes, label="gate" if gates else "score", fraction=0.03, pad=0.01)
    return figure


def write_heatmap(rank: RankingView, path: Path) -> None:
    heatmap(rank).savefig(path, dpi=120)
