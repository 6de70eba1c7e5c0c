"""The checkpoint of a cell as a local folder, with its card, wherever the store lies."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.report.model_cards import cell_card
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.store import Store
from orchestrator.views.grid_view import CellView, GridView
from orchestrator.views.named import find_cell
from trsp.errors import InvalidInputError


@dataclass(frozen=True)
class Checkpoint:
    """A cell's checkpoint: the files of a local folder, and the model card as it is now."""

    cell: CellView
    folder: Path
    card: str

    def files(self) -> dict[str, Path]:
        """Return the files by their paths below the folder, without the card."""
        found = sorted(path for path in self.folder.rglob("*") if path.is_file())
        names = {path.relative_to(self.folder).as_posix(): path for path in found}
        return {name: path for name, path in names.items() if name != "README.md"}


@contextmanager
def checkpoint_of(store: Store, view: GridView, text: str) -> Iterator[Checkpoint]:
    """The checkpoint of the cell that ``text`` means (see ``find_cell``); nothing in it may change.

    From an object store it is downloaded, unless this machine has it. InvalidInputError where the
    cell has none, or its weights are gone.
    """
    cell = find_cell(view.cells, text)
    key = cell.stage_keys.get(StageKind.PRUNE, "")
    if cell.checkpoint is None:
        raise InvalidInputError(
            f"{cell.cell.name!r} has no checkpoint yet: it is {cell.status}; trsp run makes it"
        )
    if not store.stages.done(key):
        raise InvalidInputError(
            f"the weights of {cell.cell.name!r} are gone, its scores are kept; run the grid with "
            "storage: {keep: all} to have them again"
        )
    model = cell.cell.model.name
    dense = next((each for each in view.dense if each.model.name == model), None)
    with store.stages.local_files(key) as folder:
        yield Checkpoint(cell, folder, cell_card(cell, dense))
