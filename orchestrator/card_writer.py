"""Writes the model cards of finished cells into the store, beside their checkpoints."""

from orchestrator.report.model_cards import cell_card
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.store import Store
from orchestrator.views.grid_view import SETTLED, CellView, DenseView, GridView, Status
from trsp.errors import StoreError


class CardWriter:
    """Writes each card once, as soon as it can have its scores.

    A checkpoint's card waits until its cell is done and its model's reference is over. Cards of
    cells that an earlier driver finished are written again: it may have been killed before it came
    to that. To be used by one thread at a time.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written: set[str] = set()  # keys of cells
        self._complete: GridView | None = None  # the last view all of whose cards were written

    def write(self, view: GridView) -> bool:
        """Write the cards that are new in the view; return whether none is missing.

        One that the store does not take now is tried again with the next call.
        """
        if view is self._complete:
            return True
        missing = [cell for cell in self._ready(view) if not self._write(*cell)]
        self._complete = None if missing else view
        return not missing

    def _ready(self, view: GridView) -> list[tuple[CellView, DenseView]]:
        """The cells whose cards can be written and are not, with their references."""
        references = {dense.model.name: dense for dense in view.dense if dense.status in SETTLED}
        return [
            (cell, references[cell.cell.model.name])
            for cell in view.cells
            if cell.status is Status.DONE
            and cell.cell.key not in self._written
            and cell.cell.model.name in references
        ]

    def _write(self, cell: CellView, reference: DenseView) -> bool:
        """Write one card; return whether the store took it."""
        key = cell.stage_keys[StageKind.PRUNE]
        card = cell_card(cell, reference).encode()
        try:
            self._store.stages.write_file(key, "README.md", card)
        except (OSError, StoreError):  # away or full for now; or spoilt since it was read
            return False
        self._written.add(cell.cell.key)
        return True
