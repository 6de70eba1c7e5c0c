"""What people ask of the drivers of a grid, from any machine that reaches its store."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.coordination.drivers import SignOfLife
from orchestrator.coordination.wishes import LOOK_EVERY_S, Wish, WishKind
from orchestrator.kept_grids.document import cancelled_in, user_at_host
from orchestrator.kept_grids.listing import drivers_of
from orchestrator.parallel import at_once
from orchestrator.store.store import Store
from orchestrator.views.grid_view import CellView, GridView, Status
from orchestrator.views.named import find_cell
from trsp.errors import InvalidInputError

ANSWER_S = 3 * LOOK_EVERY_S + 3.0  # in which a driver at work takes a wish up
_POLL_S = 0.5


@dataclass(frozen=True)
class Asked:
    """What was asked for, and who has taken it up."""

    cells: tuple[str, ...]  # names; of none: the whole grid
    drivers: tuple[str, ...] = ()  # that live: "process 1234 on node-1"
    obeying: tuple[str, ...] = ()  # those of them that have taken it up
    forgotten: tuple[str, ...] = ()  # keys of stages whose failures were forgotten


def cancel(
    store: Store,
    view: GridView,
    texts: Sequence[str],
    wait: Callable[[float], None] = time.sleep,
) -> Asked:
    """Ask the drivers of a grid to stop it, or to leave these cells out (see ``find_cell``).

    Waits for their answer, ``ANSWER_S`` at most. InvalidInputError where nobody works on the grid,
    and for a cell that is done.
    """
    cells = [find_cell(view.cells, text) for text in texts]
    for cell in cells:
        if cell.status is Status.DONE:
            raise InvalidInputError(f"{cell.cell.name!r} is done: there is nothing to cancel")
    drivers = drivers_of(store, view.key)
    if not drivers:
        raise InvalidInputError(
            f"no driver works on grid {view.name!r} ({view.key}) now: there is nothing to cancel"
        )
    wish = Wish(WishKind.CANCEL, user_at_host(), _keys(cells))
    return _wished(store, view, wish, cells, drivers, wait)


def retry(
    store: Store,
    view: GridView,
    texts: Sequence[str],
    wait: Callable[[float], None] = time.sleep,
) -> Asked:
    """Forget the failures of what is not done, and let the drivers at work try it again.

    Of these cells (see ``find_cell``), or of the whole grid; cancelled cells are wanted again.
    InvalidInputError for a cell that is done.
    """
    cells = [find_cell(view.cells, text) for text in texts]
    for cell in cells:
        if cell.status is Status.DONE:
            raise InvalidInputError(f"{cell.cell.name!r} is done: there is nothing to try again")
    parts = [part for part in (cells or view.parts) if part.status is not Status.DONE]
    if not parts:
        raise InvalidInputError(f"grid {view.name!r} is done: there is nothing to try again")
    keys = sorted({key for part in parts for key in part.stage_keys.values()})
    failed = at_once(store.failures.has_any, keys)
    stages = tuple(key for key, has_failed in zip(keys, failed, strict=True) if has_failed)
    at_once(store.failures.forget, stages)
    drivers = drivers_of(store, view.key)
    if not drivers:
        _want_again(store, view.key, _keys(cells))
        return Asked(_names(cells), forgotten=stages)
    wish = Wish(WishKind.RETRY, user_at_host(), _keys(cells), stages)
    return _wished(store, view, wish, cells, drivers, wait)


def _want_again(store: Store, grid: str, cells: Sequence[str]) -> None:
    """Let these cells of a grid that nobody runs, or all of them, be cancelled no more."""
    document = store.grids.load(grid)
    before = cancelled_in(document)
    after = {key: why for key, why in before.items() if cells and key not in cells}
    if after != before:
        store.grids.save(grid, {**document, "cancelled": after})


def _wished(
    store: Store,
    view: GridView,
    wish: Wish,
    cells: Sequence[CellView],
    drivers: Sequence[SignOfLife],
    wait: Callable[[float], None],
) -> Asked:
    """Make a wish, and wait until each of these drivers has taken it up."""
    name = store.wishes.make(view.key, wish)
    texts = {sign.owner: sign.process.text for sign in drivers}
    waited_s, obeying = 0.0, set[str]()
    while waited_s < ANSWER_S and not texts.keys() <= obeying:
        wait(_POLL_S)
        waited_s += _POLL_S
        obeying = set(store.wishes.taken_up_by(view.key, name))
    return Asked(
        _names(cells),
        tuple(texts.values()),
        tuple(text for owner, text in texts.items() if owner in obeying),
        wish.stages,
    )


def _keys(cells: Sequence[CellView]) -> tuple[str, ...]:
    return tuple(cell.cell.key for cell in cells)


def _names(cells: Sequence[CellView]) -> tuple[str, ...]:
    return tuple(cell.cell.name for cell in cells)
