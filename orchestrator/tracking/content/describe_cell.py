"""What a cell says in MLflow: settings, scores beside the dense model's, curves, its checkpoint.

Pure.
"""

from collections.abc import Callable, Mapping
from functools import partial

from orchestrator.grid.cells import Cell
from orchestrator.redact import redact
from orchestrator.tracking.content import notes
from orchestrator.tracking.content.metrics import KEPT, ordered_scores, shown_metrics
from orchestrator.tracking.content.registry_notes import version_note
from orchestrator.tracking.content.run_tables import evaluation_table
from orchestrator.tracking.content.states import (
    Artifact,
    Curves,
    ModelState,
    Point,
    RunState,
    table_artifact,
)
from orchestrator.tracking.content.values import (
    all_rounded,
    nested,
    reason_of,
    rounded,
    strings,
)
from orchestrator.views.grid_view import OVER, CellView, DenseView, Status
from orchestrator.views.versions import shown_versions
from trsp.records import TransferRecord


def cell_state(view: CellView, dense: DenseView | None, texts: Mapping[str, str]) -> RunState:
    """Return what a cell's run says.

    ``dense``: the unpruned model, if it is known. ``texts``: a digest for each text of the
    evaluation, by name.
    """
    cell, uri = view.cell, redact(view.checkpoint_uri or "")
    return RunState(
        kind="cell",
        key=cell.key,
        name=cell.name,
        status=view.status,
        reason=reason_of(view),
        params=_cell_params(view),
        tags={
            "trsp.rank": view.ranking_key,
            "trsp.model": cell.model.fingerprint,
            "trsp.stage": "" if view.status is Status.DONE else view.stage,
            "trsp.checkpoint": uri,
            "trsp.latency_doubt": view.measurement.doubt if view.measurement else "",
            **{
                f"trsp.version.{name}": text for name, text in shown_versions(view.versions).items()
            },
            **{f"trsp.key.{kind}": key for kind, key in view.stage_keys.items()},
            **{f"trsp.rate_scale.{kind}": f"{scale:g}" for kind, scale in view.rate_scales.items()},
        },
        finals=_cell_finals(view, dense) if _is_told(view) else {},
        curves=_transfer_curves(view.transfer) if view.transfer and _is_told(view) else {},
        artifacts=_cell_artifacts(view, dense),
        note=notes.cell_note(view, uri),
        model=_model(view, uri, texts),
        began=view.began,
        ended=view.ended if view.status is Status.DONE else None,
    )


def _is_told(view: CellView) -> bool:
    """Whether a cell's numbers are written now: together, for its scores are to be the first.

    MLflow's page of compared runs draws the metric that was written first.
    """
    return view.evaluation is not None or view.status in OVER


# A cell's params that tell it from others, in the order in which they are read, and what each says.
# The ratio is a number, for charts: the cell's name has it as it was written.
SETTINGS: Mapping[str, Callable[[Cell], object]] = {
    "model": lambda cell: cell.model.name,
    "ratio": lambda cell: f"{cell.ratio:.4g}",
    "selector": lambda cell: cell.selector_label or cell.selector.name,
    "lambda_1": lambda cell: cell.gate_l1,
    "transfer": lambda cell: cell.transfer_label or cell.transfer.name,
    "lambda_2": lambda cell: cell.drift,
    "seed": lambda cell: cell.seed,
}


def _cell_params(view: CellView) -> dict[str, str]:
    cell = view.cell
    layers = None if view.layers is None else ", ".join(map(str, view.layers))
    settings = {name: value_of(cell) for name, value_of in SETTINGS.items()}
    settings |= {"removed": cell.removed, "layers": layers}
    methods = nested("selector", cell.selector) | nested("transfer", cell.transfer)
    return strings(settings | methods)


def _cell_finals(view: CellView, dense: DenseView | None) -> dict[str, float]:
    """The cell's metrics, each with one value: scores first, where its seconds went last."""
    finals = shown_metrics(view)
    if dense and dense.checkpoint and view.checkpoint:
        finals[KEPT] = rounded(view.checkpoint.params / dense.checkpoint.params)
    if dense and dense.evaluation and view.evaluation:
        scores = ordered_scores(dense.evaluation.scores)
        finals |= {f"dense/{name}": rounded(score.value) for name, score in scores.items()}
    finals |= all_rounded({f"seconds/{kind}": value for kind, value in view.seconds.items()})
    if view.seconds:
        finals["seconds/total"] = rounded(sum(view.seconds.values()))
    return finals


def _transfer_curves(record: TransferRecord) -> Curves:
    """The curves of a training, by step from 1; the steps are taken to last equally long."""
    series = {"lm_loss": record.lm_loss, "drift": record.drift, "branch_scale": record.branch_scale}
    curves: Curves = {}
    for name, values in series.items():
        if values:
            curves[f"by_step/{name}"] = tuple(
                Point(step, value, record.seconds * step / len(values))
                for step, value in enumerate(values, start=1)
            )
    return curves


def _cell_artifacts(view: CellView, dense: DenseView | None) -> tuple[Artifact, ...]:
    if not view.evaluation:
        return ()
    return (table_artifact("scores.json", partial(evaluation_table, view, dense)),)


def _model(view: CellView, uri: str, texts: Mapping[str, str]) -> ModelState | None:
    if not (view.checkpoint and uri):
        return None
    return ModelState(
        source_model=view.cell.model.name,
        cell=view.cell.key,
        name=view.cell.full_name,
        uri=uri,
        content=view.stage_keys.get("prune") or uri,
        scores=(*shown_metrics(view), KEPT),
        texts=texts,
        note=version_note(view, uri),
    )
