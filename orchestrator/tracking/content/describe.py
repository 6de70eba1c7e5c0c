"""From views to runs: ``described_runs(view)`` gives every MLflow run that a grid should have.

Pure; does not know MLflow.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from orchestrator.redact import redact, redact_tree
from orchestrator.tracking.content import notes
from orchestrator.tracking.content.describe_cell import cell_state
from orchestrator.tracking.content.describe_ranking import ranking_state
from orchestrator.tracking.content.run_tables import cells_table
from orchestrator.tracking.content.states import RunState, json_artifact, table_artifact
from orchestrator.tracking.content.values import all_rounded, digest, reason_of
from orchestrator.views.grid_view import DenseView, GridView, Status, killed


@dataclass(frozen=True)
class DescribedRun:
    """A run that should exist once ``status`` says that its work has begun.

    ``state`` makes what the run says from ``sources``: as long as those are equal, it is too.
    """

    kind: str
    key: str
    status: Status
    sources: tuple[object, ...]
    state: Callable[[], RunState]


def described_runs(view: GridView) -> Iterator[DescribedRun]:
    """Yield every run of a grid: the grid's own first, for it is the parent of all others."""
    yield DescribedRun("grid", view.key, view.status, (view,), partial(grid_state, view))
    cells = {cell.cell.key: cell.cell for cell in view.cells}
    for ranking in view.rankings:
        sample = next((cells[key] for key in ranking.cells if key in cells), None)
        state = partial(ranking_state, ranking, sample)
        yield DescribedRun("rank", ranking.key, ranking.status, (ranking,), state)
    for part in view.dense:
        state = partial(dense_state, part)
        yield DescribedRun("dense", part.model.fingerprint, part.status, (part,), state)
    dense = {part.model.fingerprint: part for part in view.dense}
    texts = _text_digests(view.settings)
    for cell in view.cells:
        base = dense.get(cell.cell.model.fingerprint)
        state = partial(cell_state, cell, base, texts)
        yield DescribedRun("cell", cell.cell.key, cell.status, (cell, base), state)


def closed(view: GridView) -> GridView:
    """The view of a grid whose driver ends now: whatever is not over is killed."""
    return killed(view, view.reason or "the job ended before this was done")


def grid_state(view: GridView) -> RunState:
    """Return what a grid's run says: its progress, the table of its cells, its settings."""
    done = sum(cell.status is Status.DONE for cell in view.cells)
    table, settings = cells_table(view), redact_tree(view.settings)
    return RunState(
        kind="grid",
        key=view.key,
        name=view.name,
        status=view.status,
        reason=reason_of(view),
        params={
            "models": ", ".join(dict.fromkeys(cell.cell.model.name for cell in view.cells)),
            "cells": str(len(view.cells)),
            "rankings": str(len(view.rankings)),
        },
        tags={"trsp.progress": f"{done} of {len(view.cells)} cells done"},
        artifacts=(
            table_artifact("cells.json", table, digest([table.columns, table.rows])),
            json_artifact("grid.json", settings, digest(settings)),
        ),
        note=notes.grid_note(view),
    )


def dense_state(part: DenseView) -> RunState:
    """Return what an unpruned model's run says: its source and its scores."""
    return RunState(
        kind="dense",
        key=part.model.fingerprint,
        name=f"{part.model.name} dense",
        status=part.status,
        reason=reason_of(part),
        params={
            "model": part.model.name,
            "layers": str(part.model.layers),
            "source": redact(part.model.source),
        },
        tags={"trsp.latency_doubt": part.measurement.doubt if part.measurement else ""},
        finals=all_rounded(part.metrics()),
        note=f"The unpruned model: the reference of all cells of **{part.model.name}**.",
    )


def _text_digests(settings: Mapping[str, object]) -> dict[str, str]:
    """A digest per text of the evaluation, by name: of how the text is read and cut into windows.

    MLflow tells data sets of one name apart by digest.
    """
    evaluation = settings.get("evaluation")
    perplexity = evaluation.get("perplexity", ()) if isinstance(evaluation, Mapping) else ()
    return {item["text"]["name"]: digest(item)[:8] for item in perplexity}
