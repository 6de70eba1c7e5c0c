"""Draws the attempts at a grid's stages as bars over time, a row per place on a node."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.stage_spans import Span
from orchestrator.stages.stage_specs import StageKind
from orchestrator.stages.timings import Phase

_COLOURS: Mapping[StageKind, str] = {
    StageKind.RANKING: "#4477aa",
    StageKind.TRANSFER: "#ee6677",
    StageKind.PRUNE: "#ccbb44",
    StageKind.EVALUATE: "#228833",
    StageKind.DENSE: "#66ccee",
    StageKind.MEASURE: "#aa3377",
}
_BEFORE = (Phase.START, Phase.IMPORTS, Phase.LOAD)
_AFTER = (Phase.SAVE, Phase.COMMIT)
_BAR = 0.8  # of the height of a row
_OVERLAP_S = 1.0  # that two bars of one row may have: a stage is asked for as another one ends


def rows_of(spans: Sequence[Span]) -> list[list[Span]]:
    """Return the spans by row: each in the first row of its node that is free by then."""
    rows: dict[str, list[list[Span]]] = {}
    for span in sorted(spans, key=lambda each: each.begin):
        of_node = rows.setdefault(span.node, [])
        free = next((row for row in of_node if row[-1].end <= span.begin + _OVERLAP_S), None)
        if free is None:
            of_node.append([span])
        else:
            free.append(span)
    return [row for node in sorted(rows) for row in rows[node]]


def draw(spans: Sequence[Span], path: str, critical: Sequence[Span], title: str = "") -> None:
    """Write the picture to ``path``; ``critical``: the spans that get a black frame."""
    rows, begin = rows_of(spans), min(span.begin for span in spans)
    figure = Figure(figsize=(12, 1.4 + 0.55 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Axes = figure.subplots()
    for number, row in enumerate(rows):
        for span in row:
            _bar(axes, number, span, begin, framed=span in critical)
    axes.set_yticks(range(len(rows)), [_label(rows, number) for number in range(len(rows))])
    axes.invert_yaxis()
    axes.set_xlabel("seconds since the first stage was asked for")
    axes.set_title(title, fontsize=10, loc="left")
    kinds = [kind for kind in _COLOURS if any(span.kind is kind for span in spans)]
    known = [Patch(color=_COLOURS[kind], label=str(kind)) for kind in kinds]
    known.append(Patch(facecolor="white", edgecolor="black", label="what the end waited for"))
    if any(span.seconds for span in spans):
        known.append(Patch(color="#00000055", label="start, imports, load; save, commit"))
    figure.legend(handles=known, ncols=len(known), loc="outside lower center", fontsize=8)
    figure.savefig(path, dpi=110)


def _label(rows: Sequence[Sequence[Span]], number: int) -> str:
    """Return a row's label: its node, at the first row of that."""
    node = rows[number][0].node
    return node if number == 0 or rows[number - 1][0].node != node else ""


def _bar(axes: Axes, row: int, span: Span, begin: float, *, framed: bool) -> None:
    """Draw one bar, darker where it does not compute."""
    left, colour = span.begin - begin, _COLOURS[span.kind]
    axes.barh(row, span.length_s, left=left, height=_BAR, color=colour)
    before = sum(span.seconds.get(phase, 0.0) for phase in _BEFORE)
    after = sum(span.seconds.get(phase, 0.0) for phase in _AFTER)
    for width, at in ((before, left), (after, left + span.length_s - after)):
        axes.barh(row, min(width, span.length_s), left=at, height=_BAR, color="#00000055")
    if framed:
        axes.barh(row, span.length_s, left=left, height=_BAR, fill=False, edgecolor="black")
