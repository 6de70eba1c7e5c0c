"""Figures of a ranking, drawn with matplotlib. Knows views, not MLflow or the store."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from orchestrator.views.grid_view import RankingView
from trsp.records import RoundRecord

GREY = "#d9d9d9"
RED = "#d62728"


def round_values(round_: RoundRecord) -> dict[int, float]:
    """Return the gates after the round's last step, by layer.

    For selectors without gates: the scores of the round's candidates.
    """
    if round_.gate_steps:
        return dict(zip(round_.gate_layers, round_.gate_steps[-1], strict=True))
    return round_.scores


def heatmap_rows(ranking: RankingView) -> list[list[float]]:
    """Return one row per round, with one column per layer from 0 to the highest one seen.

    NaN stands where a layer was no longer there.
    """
    values = [round_values(round_) for round_ in ranking.rounds]
    width = 1 + max((layer for by_layer in values for layer in by_layer), default=-1)
    return [[by_layer.get(layer, math.nan) for layer in range(width)] for by_layer in values]


def heatmap(ranking: RankingView) -> Figure:
    """Return a figure of rounds x layers; raises ValueError for a ranking without any values.

    Grey: already removed. A red cross framed in white: removed in this round.
    """
    rows = heatmap_rows(ranking)
    if not rows or not rows[0]:
        raise ValueError(f"{ranking.name}: no gates and no scores to draw")
    width = len(rows[0])
    size = (max(6.0, 2.5 + 0.32 * width), max(2.8, 1.7 + 0.32 * len(rows)))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_facecolor(GREY)
    image = axes.imshow(rows, aspect="auto", cmap="viridis", interpolation="nearest")
    removed = [round_.layer for round_ in ranking.rounds]
    axes.scatter(removed, range(len(rows)), marker="x", s=70, color="white", linewidths=4, zorder=2)
    axes.scatter(removed, range(len(rows)), marker="x", s=60, color=RED, linewidths=2, zorder=3)
    gates = any(round_.gate_steps for round_ in ranking.rounds)
    _label(axes, ranking, width, gates)
    figure.colorbar(image, ax=axes, label="gate" if gates else "score", fraction=0.03, pad=0.01)
    return figure


def _label(axes: Axes, ranking: RankingView, width: int, gates: bool) -> None:
    axes.set_xticks(range(0, width, 1 if width <= 48 else 4))
    axes.set_yticks(range(len(ranking.rounds)), [str(round_.round) for round_ in ranking.rounds])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("layer (0-based, original model)")
    axes.set_ylabel("round")
    values = "gates after each round" if gates else "scores"
    axes.set_title(f"{ranking.name}: {values}, × removed in that round", fontsize=10)


def write_heatmap(ranking: RankingView, path: Path) -> None:
    """Write the heatmap of a ranking as an image of 120 dots per inch."""
    heatmap(ranking).savefig(path, dpi=120)
