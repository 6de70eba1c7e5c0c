"""From views to runs: ``wanted(view)`` gives every MLflow run a grid should have. Pure; does not know MLflow."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import accumulate
from statistics import fmean
from typing import TypeVar

from orchestrator.cells import Cell, canonical_json
from orchestrator.figures import round_values, write_heatmap
from orchestrator.tracking import notes
from orchestrator.tracking.redact import redact, redact_tree
from orchestrator.tracking.rounding import rounded
from orchestrator.tracking.states import Artifact, ModelState, Point, RunState, json_artifact, table_artifact
from orchestrator.tracking.tables import cells_table, evaluation_table, gate_table, score_table
from orchestrator.views import CellView, DenseView, GridView, RankView, Status, metrics
from trsp.config import Settings
from trsp.records import RoundRecord, TransferRecord

CLOSED = (Status.DONE, Status.FAILED, Status.KILLED)
Curves = dict[str, tuple[Point, ...]]
Part = TypeVar("Part", GridView, RankView, DenseView, CellView)


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
    for rank in view.ranks:
        sample = next((cells[key].cell for key in rank.cells if key in cells), None)
        yield Wanted("rank", rank.key, rank.status, (rank,), partial(rank_state, rank, sample))
    for part in view.dense:
        yield Wanted("dense", part.model.fingerprint, part.status, (part,), partial(dense_state, part))
    for cell in view.cells:
        base = dense.get(cell.cell.model.fingerprint)
        yield Wanted("cell", cell.cell.key, cell.status, (cell, base), partial(cell_state, cell, base, texts))


def closed(view: GridView) -> GridView:
    """The view of a grid whose driver ends now: whatever is not over is killed."""
    reason = view.reason or "the job ended before this was done"
    return replace(
        _close(view, reason),
        cells=tuple(_close(cell, reason) for cell in view.cells),
        ranks=tuple(_close(rank, reason) for rank in view.ranks),
        dense=tuple(_close(part, reason) for part in view.dense),
    )


def _close(part: Part, reason: str) -> Part:
    return part if part.status in CLOSED else replace(part, status=Status.KILLED, reason=reason)


# --- the four kinds of runs -------------------------------------------------------------------------------------------


def grid_state(view: GridView) -> RunState:
    done = sum(cell.status is Status.DONE for cell in view.cells)
    table, settings = cells_table(view), redact_tree(view.settings)
    return RunState(
        kind="grid",
        key=view.key,
        name=view.name,
        status=view.status,
        reason=_reason(view),
        params={
            "models": ", ".join(dict.fromkeys(cell.cell.model.name for cell in view.cells)),
            "cells": str(len(view.cells)),
            "rankings": str(len(view.ranks)),
        },
        tags={"trsp.progress": f"{done} of {len(view.cells)} cells done"},
        artifacts=(
            table_artifact("cells.json", table, _digest([table.columns, table.rows])),
            json_artifact("grid.json", settings, _digest(settings)),
        ),
        note=notes.grid_note(view),
    )


def dense_state(part: DenseView) -> RunState:
    return RunState(
        kind="dense",
        key=part.model.fingerprint,
        name=f"{part.model.name} dense",
        status=part.status,
        reason=_reason(part),
        params={"model": part.model.name, "layers": str(part.model.layers), "source": redact(part.model.source)},
        finals=_rounded(metrics(part.checkpoint, part.evaluation, part.measurement)),
        note=f"The unpruned model: the reference of all cells of **{part.model.name}**.",
    )


def rank_state(rank: RankView, sample: Cell | None) -> RunState:
    """``sample``: any cell that shares the ranking; it knows the selector's settings."""
    params = {"model": rank.model, "selector": rank.selector, "gate_l1": rank.gate_l1, "seed": rank.seed, "depth": rank.depth}
    nested = _nested("selector", sample.selector) if sample else {}
    return RunState(
        kind="rank",
        key=rank.key,
        name=f"{rank.name} ranking",
        status=rank.status,
        reason=_reason(rank),
        params=_params({**params, **nested}),
        tags={"trsp.order": ", ".join(map(str, rank.order))},
        curves={} if not rank.rounds else _rank_curves(rank),
        artifacts=_rank_artifacts(rank),
        note=notes.rank_note(rank),
    )


def cell_state(view: CellView, dense: DenseView | None, texts: Mapping[str, str]) -> RunState:
    """``texts``: a digest for each text of the evaluation, by name."""
    cell, uri = view.cell, redact(view.checkpoint_uri or "")
    return RunState(
        kind="cell",
        key=cell.key,
        name=cell.name,
        status=view.status,
        reason=_reason(view),
        params=_cell_params(view),
        tags={
            "trsp.rank": view.rank_key,
            "trsp.model": cell.model.fingerprint,
            "trsp.stage": "" if view.status is Status.DONE else view.stage,
            "trsp.checkpoint": uri,
            **{f"trsp.key.{kind}": key for kind, key in view.stage_keys.items()},
        },
        finals=_rounded(_cell_finals(view, dense)),
        curves=_transfer_curves(view.transfer) if view.transfer else {},
        artifacts=_cell_artifacts(view, dense),
        note=notes.cell_note(view, uri),
        model=_model(view, uri, texts),
    )


# --- a ranking --------------------------------------------------------------------------------------------------------


def _rank_curves(rank: RankView) -> Curves:
    """Summaries by round, and each round's profile over the layers: a metric whose step is the layer.

    MLflow makes a section of charts from what stands before the slash, in alphabetical order: summaries come first.
    """
    at = list(accumulate(round_.seconds for round_ in rank.rounds))
    kind = "gate" if any(round_.gate_steps for round_ in rank.rounds) else "score"
    curves: dict[str, list[Point]] = {}
    for round_, at_s in zip(rank.rounds, at, strict=True):
        for name, value in _summaries(round_, kind).items():
            curves.setdefault(f"by_round/{name}", []).append(Point(round_.round, rounded(value), at_s))
    for round_ in _profiles(rank):
        profile = sorted(round_values(round_).items())
        curves[f"{kind}_by_layer/round_{round_.round:02d}"] = [Point(layer, value) for layer, value in profile]
    return {name: tuple(points) for name, points in curves.items()}


def _summaries(round_: RoundRecord, kind: str) -> dict[str, float]:
    found = {f"smallest_{kind}": min(round_.scores.values())} if round_.scores else {}
    if round_.margin is not None:
        found["margin"] = round_.margin
    if round_.lm_loss:
        found["lm_loss"] = fmean(round_.lm_loss)
    return found


def _profiles(rank: RankView) -> Iterator[RoundRecord]:
    """Rounds whose values are news: a one-shot selector repeats its scores in every round."""
    known: dict[int, float] = {}
    for round_ in rank.rounds:
        values = round_values(round_)
        if any(known.get(layer) != value for layer, value in values.items()):
            yield round_
        known = values


def _rank_artifacts(rank: RankView) -> tuple[Artifact, ...]:
    version = _digest(rank.order)
    rounds = [{"round": r.round, "layer": r.layer, "margin": r.margin, "seconds": rounded(r.seconds)} for r in rank.rounds]
    order = {"model": rank.model, "selector": rank.selector, "key": rank.key, "order": rank.order, "rounds": rounds}
    found = [json_artifact("order.json", order, version)] if rank.rounds else []
    if any(round_.gate_steps for round_ in rank.rounds):
        found.append(table_artifact("gates.json", gate_table(rank), version))
    if any(round_.scores for round_ in rank.rounds):
        found.append(table_artifact("scores.json", score_table(rank), version))
    if any(round_values(round_) for round_ in rank.rounds):
        found.append(Artifact("heatmap.png", version, partial(write_heatmap, rank)))
    return tuple(found)


# --- a cell -----------------------------------------------------------------------------------------------------------


def _cell_params(view: CellView) -> dict[str, str]:
    cell = view.cell
    layers = None if view.layers is None else ", ".join(map(str, view.layers))
    axes = {
        "model": cell.model.name,
        "ratio": f"{cell.ratio:.4g}",
        "removed": cell.removed,
        "selector": cell.selector_label or cell.selector.name,
        "gate_l1": cell.gate_l1,
        "transfer": cell.transfer_label or cell.transfer.name,
        "drift": cell.drift,
        "seed": cell.seed,
        "layers": layers,
    }
    return _params({**axes, **_nested("selector", cell.selector), **_nested("transfer", cell.transfer)})


def _cell_finals(view: CellView, dense: DenseView | None) -> dict[str, float]:
    found = view.metrics() | {f"seconds/{kind}": value for kind, value in view.seconds.items()}
    if view.seconds:
        found["seconds/total"] = sum(view.seconds.values())
    if dense and dense.checkpoint and view.checkpoint:
        found["kept"] = view.checkpoint.params / dense.checkpoint.params
    if dense and dense.evaluation and view.evaluation:
        found |= {f"dense/{name}": score.value for name, score in dense.evaluation.scores.items()}
    return found


def _transfer_curves(record: TransferRecord) -> Curves:
    series = {"lm_loss": record.lm_loss, "drift": record.drift, "branch_scale": record.branch_scale}
    return {
        f"by_step/{name}": tuple(
            Point(step, value, record.seconds * step / len(values)) for step, value in enumerate(values, start=1)
        )
        for name, values in series.items()
        if values
    }


def _cell_artifacts(view: CellView, dense: DenseView | None) -> tuple[Artifact, ...]:
    if not view.evaluation:
        return ()
    table = evaluation_table(view, dense)
    return (table_artifact("scores.json", table, _digest(table.rows)),)


def _model(view: CellView, uri: str, texts: Mapping[str, str]) -> ModelState | None:
    if not (view.checkpoint and uri):
        return None
    return ModelState(
        source_model=view.cell.model.name,
        cell=view.cell.key,
        name=view.cell.name,
        uri=uri,
        content=view.stage_keys.get("prune") or uri,
        scores=(*view.metrics(), "kept"),
        texts=texts,
        note=notes.version_note(view, uri),
    )


def _text_digests(settings: Mapping[str, object]) -> dict[str, str]:
    """MLflow tells data sets of one name apart by digest: here, how the text is read and cut into windows."""
    evaluation = settings.get("evaluation")
    perplexity = evaluation.get("perplexity", ()) if isinstance(evaluation, Mapping) else ()
    return {item["text"]["name"]: _digest(item)[:8] for item in perplexity}


# --- small things -----------------------------------------------------------------------------------------------------


def _reason(part: GridView | RankView | DenseView | CellView) -> str:
    return redact(part.reason or part.status.value)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: rounded(value) for name, value in values.items()}


def _params(values: Mapping[str, object]) -> dict[str, str]:
    return {name: redact(value) for name, value in values.items() if value is not None}


def _nested(prefix: str, settings: Settings) -> dict[str, object]:
    return {f"{prefix}.{name}": value for name, value in settings.model_dump(mode="json").items() if name != "name"}


def _digest(value: object) -> str:
    return sha256(canonical_json(value).encode()).hexdigest()[:12]
