"""The model card of a finished cell: which layers went, by which settings, with what scores.

Pure text from views.
"""

from orchestrator.grid.labels import method_name
from orchestrator.grid.shorthand import as_written
from orchestrator.views.grid_view import CellView, DenseView
from orchestrator.views.versions import shown_versions
from trsp.checkpoints.model_card import model_card


def cell_card(view: CellView, dense: DenseView | None) -> str:
    """Return a cell's card: Markdown with YAML front matter (``trsp.checkpoints.model_card``).

    ``dense``: the unpruned model, whose scores stand beside the cell's; None leaves them out.
    """
    cell = view.cell
    settings: dict[str, object] = {
        "selector": method_name(cell.selector),
        "ratio": as_written(cell.ratio),
        "lambda_1": cell.gate_l1,
        "transfer": method_name(cell.transfer),
        "lambda_2": cell.drift,
        "seed": cell.seed,
        "computed with": ", ".join(
            f"{name} {text}" for name, text in shown_versions(view.versions).items()
        )
        or None,
        **{
            f"{kind} learning rate": f"{scale:g} of its setting, at the whole of which it diverged"
            for kind, scale in view.rate_scales.items()
        },
        **{f"{kind} stage": key for kind, key in view.stage_keys.items()},
        "latency in doubt": (view.measurement and view.measurement.noise) or None,
    }
    return model_card(
        name=cell.full_name,
        source=cell.model.source,
        revision=cell.model.revision or cell.model.fingerprint,
        layers=cell.model.layers,
        removed_layers=view.layers or (),
        settings={name: value for name, value in settings.items() if value is not None},
        scores=view.metrics(),
        dense_scores=dense.metrics() if dense else None,
    )
