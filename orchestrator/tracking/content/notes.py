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


def ranking_note(ranking: RankingView) -> str:
    """Return what a ranking's run says of it: the order so far, and how many cells share it."""
    order = ", ".join(map(str, ranking.order)) or "none yet"
    slowed = f" Learned with {ranking.slowed}: it diverged at the whole." if ranking.slowed else ""
    return (
        f"Order of removal of **{ranking.model}** by `{ranking.selector}`: **{order}** "
        f"({ranking.ranked} of {ranking.depth} rounds).{slowed}\n\n"
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
    return f"{text}\n\n{loading(uri)}" if uri else text


def loading(uri: str) -> str:
    """Return Markdown that shows Python which loads a checkpoint.

    A remote one is fetched with MLflow first.
    """
    lines = ["from transformers import AutoModelForCausalLM"]
    place = f'"{uri}"'
    if "://" in uri and not uri.startswith("file://"):
        lines = ["import mlflow", *lines, f"folder = mlflow.artifacts.download_artifacts({place})"]
        place = "folder"
    lines.append(f"model = AutoModelForCausalLM.from_pretrained({place})")
    return "\n".join(("```python", *lines, "```"))
