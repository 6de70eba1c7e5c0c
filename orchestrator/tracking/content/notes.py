"""Descriptions in Markdown, for people who open MLflow without having read our documentation. Pure."""

from orchestrator.views.grid_view import CellView, GridView, RankingView, Status

EXPERIMENT_NOTE = """Grids of structured pruning (TRSP): every **cell** is one pruned checkpoint of a model.

| `trsp.kind` | run |
|---|---|
| `grid` | a grid file; parent of the others |
| `rank` | an order in which layers are removed, shared by cells: `gates.json`, `heatmap.png`, `order.json` |
| `cell` | a pruned checkpoint: its settings, scores beside the dense model's, time |
| `dense` | the unpruned model |

Layers are 0-based indices in the original model. MLflow is a projection of the job's store and can be rebuilt from it.
"""


def grid_note(view: GridView) -> str:
    counts = {status: sum(cell.status is status for cell in view.cells) for status in Status}
    cells = ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)
    return f"Grid **{view.name}** (`{view.key}`): {len(view.cells)} cells ({cells}), {len(view.rankings)} rankings."


def ranking_note(rank: RankingView) -> str:
    order = ", ".join(map(str, rank.order)) or "none yet"
    return (
        f"Order of removal of **{rank.model}** by `{rank.selector}`: **{order}** "
        f"({len(rank.rounds)} of {rank.depth} rounds).\n\n"
        f"A cell takes the first layers of this order; {len(rank.cells)} cells share it. See `heatmap.png` under Artifacts."
    )


def cell_note(cell: CellView, uri: str) -> str:
    if cell.layers is None:
        return f"{cell.cell.removed} of {cell.cell.model.layers} layers of **{cell.cell.model.name}** will be removed."
    text = (
        f"**{cell.cell.model.name}** without layers {', '.join(map(str, sorted(cell.layers)))} "
        f"({len(cell.layers)} of {cell.cell.model.layers})."
    )
    return f"{text}\n\n{load_snippet(uri)}" if uri else text


def version_note(cell: CellView, uri: str) -> str:
    """The registry's list shows the start of it, unrendered."""
    layers = ", ".join(map(str, sorted(cell.layers or ())))
    return f"{cell.cell.name}: without layers {layers}\n\n{load_snippet(uri)}"


def load_snippet(uri: str) -> str:
    """How to load a checkpoint; a remote one is fetched first."""
    load = f'AutoModelForCausalLM.from_pretrained("{uri}")'
    if "://" in uri and not uri.startswith("file://"):
        load = f'mlflow.artifacts.download_artifacts("{uri}"), then AutoModelForCausalLM.from_pretrained(that folder)'
    return f"```python\n{load}\n```"


REGISTRY_NOTE = """The weights stay in the job's store: a version's tag `trsp.checkpoint` is their address.
Aliases such as `best-params-110m` mark the best version under a budget."""
