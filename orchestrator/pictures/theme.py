"""Colours and type of all pictures, on light and on dark paper. Knows nothing of grids.

A figure is drawn in the colours of ``LIGHT``. As SVG each of these becomes a variable of CSS, so
that a page can show the same figure in the colours of ``DARK``. No two of the six series are nearer
than 20 (CIE76) to each other, as people see them without colour blindness, with protanopia,
deuteranopia or tritanopia (Machado et al., 2009), and all keep a contrast of 3 to their paper.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

from matplotlib import rc_context
from matplotlib.figure import Figure

LIGHT: Mapping[str, str] = {
    "ink": "#1f2328",
    "muted": "#656d76",
    "line": "#d8dee4",
    "paper": "#ffffff",
    "others": "#8c959f",
    "alarm": "#cf222e",
    "series-1": "#0062c8",
    "series-2": "#d26700",
    "series-3": "#019f65",
    "series-4": "#c1519c",
    "series-5": "#7d2d00",
    "series-6": "#3a08b5",
}
DARK: Mapping[str, str] = {
    "ink": "#e6edf3",
    "muted": "#9198a1",
    "line": "#3d444d",
    "paper": "#0d1117",
    "others": "#7d8590",
    "alarm": "#ff7b72",
    "series-1": "#4ea8d8",
    "series-2": "#eb834a",
    "series-3": "#91f8d7",
    "series-4": "#ee4691",
    "series-5": "#f8d644",
    "series-6": "#c7d3f5",
}
SERIES = tuple(colour for name, colour in LIGHT.items() if name.startswith("series-"))
WIDTH_IN = 7.2  # of every picture, in inches

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,  # a name may hold two dollar signs
    "text.color": LIGHT["ink"],
    "axes.edgecolor": LIGHT["muted"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.facecolor": "none",
    "axes.titlecolor": LIGHT["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.6,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 8,
}

Drawn = ParamSpec("Drawn")


def in_style(draw: Callable[Drawn, Figure]) -> Callable[Drawn, Figure]:
    """Return the function that draws in this style, whatever matplotlib's own is set to."""

    @wraps(draw)
    def drawn(*args: Drawn.args, **kwargs: Drawn.kwargs) -> Figure:
        with rc_context(_STYLE):
            return draw(*args, **kwargs)

    return drawn


def new_figure(height_in: float, width_in: float = WIDTH_IN) -> Figure:
    """Return an empty figure of this size in inches, which lays itself out."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def css_variables(colours: Mapping[str, str]) -> str:
    """Return the declarations of CSS by which a picture has these colours: ``--ink: #1f2328;``."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())
