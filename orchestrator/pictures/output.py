"""Figures as SVG, for pages of any theme, and as PNG on white. Knows nothing of grids."""

import io
import re

from matplotlib import rc_context
from matplotlib.figure import Figure

from orchestrator.pictures.theme import LIGHT

PNG_DPI = 144
_FOR_ALL = "font-family: 'DejaVu Sans', sans-serif; stroke-linejoin: round; stroke-linecap: butt"
_TIP = "tip:"  # begins the id of what is to show a text under the mouse


def set_tip(artist: object, text: str) -> None:
    """Let an artist show this text under the mouse, where the figure becomes SVG."""
    artist.set_gid(_TIP + text)  # type: ignore[attr-defined]


def svg(figure: Figure, name: str = "") -> str:
    """Return the figure as an ``<svg>`` element whose colours follow its page's theme.

    Text stays text. Equal figures of one name give equal SVG; the ids within are unique on a page
    where the names are.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": f"trsp {name}"}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    element = "<svg" + buffer.getvalue().partition("<svg")[2].rstrip()
    element = re.sub(rf'<g id="{_TIP}([^"]*)">', r"<g><title>\1</title>", element)
    return _with_theme(_without_idle_ids(_slim(element)))


def png(figure: Figure, dpi: int = PNG_DPI) -> bytes:
    """Return the figure as a PNG image of so many dots per inch, on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=LIGHT["paper"])
    return buffer.getvalue()


def _slim(element: str) -> str:
    """Return the SVG with what all its elements say said once, and no style for its whole page."""
    element = re.sub(r'font-family: [^;"]*; ?| transform="rotate\(-0 [^)]*\)"', "", element)
    element = re.sub(r"<style\b.*?</style>", "", element, flags=re.DOTALL)
    return element.replace("<svg", f'<svg style="{_FOR_ALL}"', 1)


def _without_idle_ids(element: str) -> str:
    """Return the SVG without the ids that nothing in it refers to: other pictures have them too."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', element))

    def kept(found: re.Match[str]) -> str:
        return found[0] if found[1] in used else ""

    return re.sub(r' id="([^"]*)"', kept, element)


def _with_theme(element: str) -> str:
    """Return the SVG, each colour of the light theme in it a variable with that colour's value."""
    for name, colour in LIGHT.items():
        element = element.replace(colour, f"var(--{name}, {colour})")
    return element
