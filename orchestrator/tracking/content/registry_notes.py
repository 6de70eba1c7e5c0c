"""What the registry says of checkpoints, in Markdown: a version's own page, and the model's.

Pure. The model's page answers "which version under which budget" by a table whose links lead to the
versions, and these say how they are loaded.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.tracking.content.notes import loading
from orchestrator.views.aliases import AliasClaim
from orchestrator.views.grid_view import CellView

HEADING = "### Best under each budget"
_GAP = "&emsp;"
_MILLIONS = {"params": ("M params", 1e6), "bytes": ("MB", 1e6)}


@dataclass(frozen=True)
class Marked:
    """A version that an alias marks. ``note``: the version's own (``version_note``)."""

    alias: str
    version: str
    claim: AliasClaim
    note: str = ""


def model_note(source_model: str) -> str:
    """Return what a registered model says of itself before any alias marks one of its versions."""
    return (
        f"Pruned checkpoints of **{source_model}**, one version per cell of a grid; each version "
        "says its scores and how it is loaded. The weights stay in the job's store: a version's "
        "tag `trsp.checkpoint` is their address. Aliases such as `demo-best-params-110m` mark the "
        "best version under a budget of the grid `demo`; the tag `trsp.alias.` and the alias says "
        "why."
    )


def with_best(description: str, model: str, marked: Iterable[Marked]) -> str:
    """Return a registered model's description with its table of budgets brought up to date.

    ``model``: the registered model's name. The table is the section below ``HEADING``, to the next
    heading; all around it is somebody's, and stays.
    """
    lines = description.splitlines()
    begin = lines.index(HEADING) if HEADING in lines else len(lines)
    after = (at for at in range(begin + 1, len(lines)) if lines[at].startswith("#"))
    end = next(after, len(lines))
    before = "\n".join(lines[:begin]).rstrip()
    table = _best_table(model, sorted(marked, key=lambda each: (each.claim.grid, each.alias)))
    parts = (before, table, "\n".join(lines[end:]).strip())
    return "\n\n".join(part for part in parts if part)


def _best_table(model: str, marked: Iterable[Marked]) -> str:
    """Return the section: a row for each alias that marks a version; "" where none does."""
    rows = [
        _row(
            each.claim.budget,
            f"[Version {each.version}]({_link(model, each.version)})",
            each.claim.score,
            _cell(each.note),
            f"`{each.alias}`",
        )
        for each in marked
    ]
    if not rows:
        return ""
    head = (_row("budget", "best", "score", "what it is", "alias"), "|---|---|---|---|---|")
    return "\n".join((HEADING, "", *head, *rows))


def _link(model: str, version: str) -> str:
    """Return the address of a version's page, from any other page of MLflow's."""
    return f"#/models/{model}/versions/{version}?workflowType=machine_learning"


def _row(*cells: str) -> str:
    """Return a row whose cells do not touch: MLflow's pages leave no room between columns."""
    return f"| {f' {_GAP} | '.join(cells)} |"


def _cell(note: str) -> str:
    """Return the first line of a version's note, as a table takes it."""
    return next(iter(note.splitlines()), "").replace("|", "/")


def version_note(view: CellView, uri: str) -> str:
    """Return what a registered version says of itself: its cell, layers, scores, how to load it.

    The registry's list shows the start of it, unrendered: no Markdown there.
    """
    layers = ", ".join(map(str, sorted(view.layers or ())))
    slowed = f"; {view.slowed}" if view.slowed else ""
    scores = "; ".join(_scores(view))
    about = f"\n\n{scores}" if scores else ""
    return f"{view.cell.name}: without layers {layers}{slowed}{about}\n\n{loading(uri)}"


def _scores(view: CellView) -> list[str]:
    """Return the sizes, scores with their standard errors, and the latency, as far as known."""
    metrics = view.metrics()
    shown = [
        f"{metrics[name] / scale:,.1f} {unit}"
        for name, (unit, scale) in _MILLIONS.items()
        if name in metrics
    ]
    for name, score in (view.evaluation.scores if view.evaluation else {}).items():
        error = "" if score.stderr is None else f" +- {score.stderr:.2g}"
        shown.append(f"{name} {score.value:.4g}{error}")
    if "latency_ms" in metrics:
        doubt = " (in doubt)" if view.measurement and view.measurement.doubt else ""
        shown.append(f"latency {metrics['latency_ms']:.4g} ms{doubt}")
    return shown
