"""The gates of a ranking over its rounds, and when each layer went."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.pictures.theme import LIGHT, WIDTH_IN, in_style, new_figure
from orchestrator.views.grid_view import RankingView
from trsp.records import RoundRecord

_FRAME = "#fdfdfd"
_CROSS = "#d62728"  # stands out from the colours of gates, on both papers


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


@in_style
def gates_over_rounds(ranking: RankingView) -> Figure:
    """Return a figure of rounds x layers; raises ValueError for a ranking without any values.

    Grey: already removed. A red cross framed in white: removed in this round.
    """
    rows = heatmap_rows(ranking)
    if not rows or not rows[0]:
        raise ValueError(f"{ranking.name}: no gates and no scores to draw")
    layers = len(rows[0])
    width, height = max(WIDTH_IN, 1.8 + 0.25 * layers), max(2.2, 1.2 + 0.25 * len(rows))
    figure = new_figure(height, width)
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.set_facecolor(LIGHT["line"])
    image = axes.imshow(rows, aspect="auto", cmap="viridis", interpolation="none")
    removed = [round_.layer for round_ in ranking.rounds]
    axes.scatter(removed, range(len(rows)), marker="x", s=60, color=_FRAME, linewidths=4, zorder=2)
    axes.scatter(removed, range(len(rows)), marker="x", s=50, color=_CROSS, linewidths=2, zorder=3)
    gates = any(round_.gate_steps for round_ in ranking.rounds)
    _label(axes, ranking, layers, gates)
    figure.colorbar(image, ax=axes, label="gate" if gates else "score", fraction=0.03, pad=0.01)
    return figure


def _label(axes: Axes, ranking: RankingView, layers: int, gates: bool) -> None:
    axes.set_xticks(range(0, layers, 1 if layers <= 48 else 4))
    axes.set_yticks(range(len(ranking.rounds)), [str(round_.round) for round_ in ranking.rounds])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("layer (0-based, original model)")
    axes.set_ylabel("round")
    values = "gates after each round" if gates else "scores"
    axes.set_title(f"{ranking.name}: {values}, × removed in that round", fontsize=10)
