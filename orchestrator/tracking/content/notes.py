"""Descriptions in Markdown, for people who open MLflow without having read our documentation.

Pure.
"""

from orchestrator.views.grid_view import CellView, RankingView

EXPERIMENT_NOTE = """\
Grids of structured pruning (TRSP): every **cell** is one pruned checkpoint of a model.

| `trsp.kind` | run |
|---|---|
| `grid` | a grid file; parent of the others |
| `rank` | an order in which layers are removed, shared by cells: \
`gates.json`, `heatmap.png`, `order.json` |
| `cell` | a pruned checkpoint: its settings, scores beside the dense model's, time |
| `dense` | the unpruned model |

Layers are 0-based indices in the original model. \
MLflow is a projection of the job's store and can be rebuilt from it.
"""
REGISTRY_NOTE = """\
The weights stay in the job's store: a version's tag `trsp.checkpoint` is their address.
Aliases such as `demo-best-params-110m` mark the best version under a budget of the grid `demo`;
the tag `trsp.alias.` and the alias says why."""


def ranking_note(ranking: RankingView) -> str:
    """Return what a ranking's run says of it: the order so far, and how many cells share it."""
    order = ", ".join(map(str, ranking.order)) or "none yet"
    slowed = f" Learned with {ranking.slowed}: it diverged at the whole." if ranking.slowed else ""
    return (
        f"Order of removal of **{ranking.model}** by `{ranking.selector}`: **{order}** "
        f"({len(ranking.rounds)} of {ranking.depth} rounds).{slowed}\n\n"
        f"A cell takes the first layers of this order; {len(ranking.cells)} cells share it. "
        "See `heatmap.png` under Artifacts."
    )


def cell_note(view: CellView, uri: str) -> str:
    """Return what a cell's run says of it: the layers removed; with a ``uri``, how to load it."""
    model = view.cell.model
    if view.layers is None:
        return f"{view.cell.removed} of {model.layers} layers of **{model.name}** will be removed."
    layers = ", ".join(map(str, sorted(view.layers)))
    text = f"**{model.name}** without layers {layers} ({len(view.layers)} of {model.layers})."
    if view.slowed:
        text += f" Made with {view.slowed}: it diverged at the whole."
    return f"{text}\n\n{_loading(uri)}" if uri else text


def version_note(view: CellView, uri: str) -> str:
    """Return what a registered version says of itself.

    The registry's list shows the start of it, unrendered: no Markdown there.
    """
    layers = ", ".join(map(str, sorted(view.layers or ())))
    slowed = f"; {view.slowed}" if view.slowed else ""
    return f"{view.cell.name}: without layers {layers}{slowed}\n\n{_loading(uri)}"


def _loading(uri: str) -> str:
    """Markdown that shows how to load a checkpoint; a remote one is fetched with MLflow first."""
    load = f'AutoModelForCausalLM.from_pretrained("{uri}")'
    if "://" in uri and not uri.startswith("file://"):
        load = (
            f'mlflow.artifacts.download_artifacts("{uri}"), '
            "then AutoModelForCausalLM.from_pretrained(that folder)"
        )
    return f"```python\n{load}\n```"
