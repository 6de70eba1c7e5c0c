"""The frame of a picture: a panel per model, below them the key, and names by letters. No data.

Scores of different models lie on different scales, and their tokens differ: no panel mixes them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from orchestrator.pictures.theme import new_figure

_PANEL_IN = {1: 3.6, 2: 2.7}  # the height of a panel where so many stand side by side
_ROW_IN = 0.17  # of a key, or of names
_MARGIN_IN = 0.04
_ROW_CHARACTERS = 100  # that fit in a row of the key
_HANDLE_CHARACTERS = 7  # what an entry of the key takes beside its name

Key = Sequence[Sequence[Line2D]]  # its entries, in groups that begin a row each


class Frame(NamedTuple):
    """A figure and its panels, by the names of models."""

    figure: Figure
    panels: dict[str, Axes]


def frame(models: Sequence[str], key: Key, names: Sequence[str] = ()) -> Frame:
    """Return a figure with a panel per model, a key of these entries, and a line for each name."""
    columns = min(len(models), 2)
    rows = math.ceil(len(models) / columns)
    key = [group for group in key if group]
    heights = [rows * _PANEL_IN[columns], *map(_height, key), len(names) * _ROW_IN + _MARGIN_IN]
    figure = new_figure(sum(heights))
    plots, *groups, lines = _rows(figure, heights)
    for subfigure, group in zip(groups, key, strict=True):
        columns_of_key = _columns(group)
        subfigure.legend(handles=list(group), ncols=columns_of_key, loc="upper left", borderpad=0)
    for row, name in enumerate(names):
        lines.text(0.008, 1 - row * _ROW_IN / heights[-1], name, fontsize=8, va="top")
    every = list(plots.subplots(rows, columns, squeeze=False).flat)
    for unused in every[len(models) :]:
        unused.remove()
    panels = dict(zip(models, every, strict=False))
    if len(models) > 1:
        for model, axes in panels.items():
            axes.set_title(model)
    return Frame(figure, panels)


def _rows(figure: Figure, heights: Sequence[float]) -> list[SubFigure]:
    return list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])


def _height(group: Sequence[Line2D]) -> float:
    return math.ceil(len(group) / _columns(group)) * _ROW_IN + _MARGIN_IN


def _columns(group: Sequence[Line2D]) -> int:
    """Return how many entries of a group fit side by side."""
    longest = max(len(str(handle.get_label())) for handle in group)
    return max(1, min(len(group), _ROW_CHARACTERS // (longest + _HANDLE_CHARACTERS)))
