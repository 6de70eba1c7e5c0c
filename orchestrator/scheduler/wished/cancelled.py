"""Cells that people have cancelled: what is still needed without them, and what is of no use."""

from collections.abc import Collection, Mapping

from orchestrator.coordination.wishes import Wish, WishKind
from orchestrator.stages.next_stages import Done
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.views.build import CANCELLED
from orchestrator.views.grid_view import CellView
from orchestrator.views.parts import GridParts, Part


def cancelled_after(wish: Wish, before: Mapping[str, str]) -> dict[str, str]:
    """Return why cells are cancelled, by their keys, once the wish is obeyed.

    Whoever wishes that cells, or all, are tried again, wants them again.
    """
    if wish.kind is WishKind.CANCEL:
        return {**before, **dict.fromkeys(wish.cells, f"{CANCELLED}{wish.by}")}
    again = wish.cells or tuple(before)
    return {key: reason for key, reason in before.items() if key not in again}


def still_needed(parts: GridParts, cancelled: Collection[str]) -> tuple[StageSpec, ...]:
    """Return what references and cells need next, but for the cancelled ones (their keys)."""
    if not cancelled:
        return parts.needs
    needed = [
        *(part.needed for part in parts.dense),
        *(part.needed for part in _others(parts, cancelled)),
    ]
    return tuple(each for each in needed if not isinstance(each, Done))


def of_no_use(parts: GridParts, cancelled: Collection[str]) -> frozenset[str]:
    """Return the keys of the stages on which cancelled cells rest, and nothing else."""
    if not cancelled:
        return frozenset()
    used = {key for part in parts.dense for key in part.keys}
    for part in _others(parts, cancelled):
        used.update(part.keys)
    rested = (part.keys for part in parts.cells if part.view.cell.key in cancelled)
    return frozenset(key for keys in rested for key in keys if key not in used)


def _others(parts: GridParts, cancelled: Collection[str]) -> list[Part[CellView]]:
    return [part for part in parts.cells if part.view.cell.key not in cancelled]
