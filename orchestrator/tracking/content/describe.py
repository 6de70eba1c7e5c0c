"""From views to runs: ``wanted(view)`` gives every MLflow run a grid should have. Pure; does not know MLflow."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from orchestrator.tracking.content import notes
from orchestrator.tracking.content.describe_cell import cell_state
from orchestrator.tracking.content.describe_ranking import ranking_state
from orchestrator.tracking.content.redact import redact, redact_tree
from orchestrator.tracking.content.states import RunState, json_artifact, table_artifact
from orchestrator.tracking.content.tables import cells_table
from orchestrator.tracking.content.values import all_rounded, digest, reason_of
from orchestrator.views.grid_view import DenseView, GridView, Status, killed


@dataclass(frozen=True)
class Wanted:
    """A run that should exist once ``status`` says that its work has begun. Equal ``seen``, equal state."""

    kind: str
    key: str
    status: Status
    seen: tuple[object, ...]
    state: Callable[[], RunState]


def wanted(view: GridView) -> Iterator[Wanted]:
    """The grid first, for it is the parent of all others."""
    cells = {cell.cell.key: cell for cell in view.cells}
    dense = {part.model.fingerprint: part for part in view.dense}
    texts = _text_digests(view.settings)
    yield Wanted("grid", view.key, view.status, (view,), partial(grid_state, view))
    for rank in view.rankings:
        sample = next((cells[key].cell for key in rank.cells if key in cells), None)
        yield Wanted("rank", rank.key, rank.status, (rank,), partial(ranking_state, rank, sample))
    for part in view.dense:
        yield Wanted(
            "dense", part.model.fingerprint, part.status, (part,), partial(dense_state, part)
        )
    for cell in view.cells:
        base = dense.get(cell.cell.model.fingerprint)
        yield Wanted(
            "cell", cell.cell.key, cell.status, (cell, base), partial(cell_state, cell, base, texts)
        )


def closed(view: GridView) -> GridView:
    """The view of a grid whose driver ends now: whatever is not over is killed."""
    return killed(view, view.reason or "the job ended before this was done")


def grid_state(view: GridView) -> RunState:
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
        finals=all_rounded(part.metrics()),
        note=f"The unpruned model: the reference of all cells of **{part.model.name}**.",
    )


def _text_digests(settings: Mapping[str, object]) -> dict[str, str]:
    """MLflow tells data sets of one name apart by digest: here, how the text is read and cut into windows."""
    evaluation = settings.get("evaluation")
    perplexity = evaluation.get("perplexity", ()) if isinstance(evaluation, Mapping) else ()
    return {item["text"]["name"]: digest(item)[:8] for item in perplexity}
