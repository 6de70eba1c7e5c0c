"""Draws docs/img/rooms.svg, the folders of both packages and who imports whom.

    python -m docs.draw_rooms

The table is that of tests/rooms.py. An arrow points to what is imported; one that follows from
others (a imports b and b imports c, so a may import c) is left out. tests/test_imports.py fails
while the picture is of another table.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tests.rooms import MAY_IMPORT, PACKAGES, ROOT

PICTURE = ROOT / "docs" / "img" / "rooms.svg"
BOX_WIDTH, BOX_HEIGHT, COLUMN, ROW = 1.7, 0.42, 2.0, 1.0
FILL = {"trsp": "#e3eefa", "orchestrator": "#fbeedd"}

Graph = Mapping[str, frozenset[str]]


def digest() -> str:
    """Sixteen hex digits of the table: what the picture's description says it was drawn from."""
    table = {room: sorted(allowed) for room, allowed in sorted(MAY_IMPORT.items())}
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()[:16]


def graph_of(package: str) -> Graph:
    """The rooms of one package, and which of each other they import."""
    rooms = [room for room in MAY_IMPORT if room.startswith(f"{package}.")]
    return {room: frozenset(MAY_IMPORT[room]) & frozenset(rooms) for room in rooms}


def levels_of(graph: Graph) -> dict[str, int]:
    """The row of each room: 0 where it imports none, else one above the highest that it imports."""
    levels: dict[str, int] = {}
    while len(levels) < len(graph):
        for room, imported in graph.items():
            if imported <= levels.keys():
                levels.setdefault(room, max((levels[each] + 1 for each in imported), default=0))
    return levels


def reachable(graph: Graph, room: str) -> set[str]:
    """Every room that ``room`` imports, directly or through others."""
    found: set[str] = set()
    waiting = list(graph[room])
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(graph[current])
    return found


def necessary(graph: Graph) -> list[tuple[str, str]]:
    """Pairs (importer, imported) that follow from no others."""
    pairs = []
    for room, imported in graph.items():
        for each in sorted(imported):
            if not any(each in reachable(graph, other) for other in imported - {each}):
                pairs.append((room, each))
    return pairs


def places_of(graph: Graph, left: float) -> dict[str, tuple[float, float]]:
    """The centre of each room's box: in the row of its level, near what it imports."""
    levels = levels_of(graph)
    places: dict[str, tuple[float, float]] = {}
    for level in range(max(levels.values()) + 1):
        row = [room for room in graph if levels[room] == level]
        row.sort(key=lambda room: _mean([places[each][0] for each in graph[room]]))
        width = (len(row) - 1) * COLUMN
        for position, room in enumerate(row):
            places[room] = (left + position * COLUMN - width / 2, level * ROW)
    return places


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def draw(axes: Axes, package: str, left: float) -> None:
    """The rooms of one package around the column ``left``, with their arrows."""
    graph = graph_of(package)
    places = places_of(graph, left)
    for importer, imported in necessary(graph):
        (x0, y0), (x1, y1) = places[importer], places[imported]
        axes.annotate(
            "",
            xy=(x1, y1 + BOX_HEIGHT / 2),
            xytext=(x0, y0 - BOX_HEIGHT / 2),
            arrowprops={"arrowstyle": "-|>", "color": "#888888", "connectionstyle": _bend(y0 - y1)},
            zorder=1,
        )
    for room, (x, y) in places.items():
        corner = (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2)
        style = {"boxstyle": "round,pad=0.02", "facecolor": FILL[package], "edgecolor": "#666666"}
        axes.add_patch(FancyBboxPatch(corner, BOX_WIDTH, BOX_HEIGHT, zorder=2, **style))
        name = room.removeprefix(f"{package}.")
        axes.text(x, y, name, ha="center", va="center", fontsize=9, zorder=3)
    axes.text(left, -0.75, f"{package}/", ha="center", va="center", fontsize=12, weight="bold")


def _bend(rows: float) -> str:
    """Matplotlib's style of an arrow over so many rows: a long one goes round the boxes between."""
    return "arc3,rad=0.0" if rows <= ROW else "arc3,rad=0.12"


def figure() -> Figure:
    """Both packages side by side: the orchestrator imports the library, never the other way."""
    matplotlib.rcParams["svg.hashsalt"] = "rooms"
    matplotlib.rcParams["svg.fonttype"] = "none"
    drawn = Figure(figsize=(14.5, 7.4), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots()
    draw(axes, "trsp", 0.0)
    draw(axes, "orchestrator", 9.5)
    axes.annotate(
        "imports",
        xy=(4.6, 0.0),
        xytext=(6.0, 0.0),
        va="center",
        arrowprops={"arrowstyle": "-|>", "color": "#444444", "linewidth": 1.6},
    )
    axes.set_xlim(-5.0, 12.6)
    axes.set_ylim(-1.0, 8.5)
    axes.axis("off")
    return drawn


def main() -> None:
    assert set(FILL) == set(PACKAGES)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure().savefig(
        PICTURE, metadata={"Date": None, "Description": f"drawn from table {digest()}"}
    )
    sys.stdout.write(f"{PICTURE.relative_to(Path.cwd())}\n")


if __name__ == "__main__":
    main()
