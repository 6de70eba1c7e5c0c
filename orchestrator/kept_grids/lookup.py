"""Which grid is meant by a file, a name or a key: looked up, or as its store keeps it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.grid.run_settings import Storage
from orchestrator.grid.schema import Grid, load_grid
from orchestrator.kept_grids.document import NOT_ASKED, resolved_from
from orchestrator.kept_grids.shelf import Kept, changed_since, find_kept, newest_kept, with_settings
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.store.patience import in_words
from orchestrator.store.store import Store
from trsp.errors import InvalidInputError, UnreachableError, first_line

STORE_VARIABLE = "TRSP_STORE"  # the store of whoever names neither one nor a file


def look_up(which: str | None, store: str | None, note: Callable[[str], None]) -> Resolved:
    """Return the grid that is meant, on the hardware that it last ran on.

    ``which``: a grid file; or the name, the file's name or the beginning of the key of a grid that
    ``store`` keeps (default: that of ``storage_at``); None: the one that was run last there.
    ``note`` is called with what people should know. Of a file whose models or texts are not to be
    had here, the grid of equal settings that the store keeps is returned, with the file's budgets,
    storage and tracking.
    Raises InvalidInputError for what is unknown, and where the store is away UnreachableError.
    """
    path = Path(which or "")
    uri = storage_at(store).store
    if (which and path.is_file()) or (path.suffix in (".yaml", ".yml") and len(path.parts) > 1):
        return of_file(path, store, note)
    with in_words(uri):
        found, *others = find_kept(Store(uri), which) if which else newest_kept(Store(uri))
        if not which:
            note(f"grid {found.grid.name} ({found.text}), the last that was run in {uri}")
        elif others:
            older = ", ".join(each.key for each in others)
            note(f"several grids are called {which!r}: this is {found.text}; older: {older}")
        return resolved_from(found.grid, found.key, uri)


def storage_at(store: str | None) -> Storage:
    """Return the storage settings of this store, by default that of the environment, or our own."""
    named = store or os.environ.get(STORE_VARIABLE)
    return Storage(store=named) if named else Storage()


def of_file(path: Path, store: str | None, note: Callable[[str], None]) -> Resolved:
    """Return the grid of a file, looked up or else as its store keeps it (see ``look_up``)."""
    grid = load_grid(path)
    if store:
        grid = grid.model_copy(update={"storage": storage_at(store)})
    try:
        resolved = resolve(grid)
    except (InvalidInputError, UnreachableError) as error:
        return _kept_instead(grid, error, note)
    return as_it_ran(resolved)


def as_it_ran(resolved: Resolved) -> Resolved:
    """Return a grid on the hardware that it last ran on, as its store knows."""
    uri = resolved.grid.storage.store
    with in_words(uri):
        hardware = str(Store(uri).grids.load(resolved.key).get("hardware", ""))
    return resolved.measured_on(hardware)


def _kept_instead(grid: Grid, error: Exception, note: Callable[[str], None]) -> Resolved:
    """Return the grid that the store keeps for a file that cannot be looked up here.

    Raises ``error``, what is wrong here, where it keeps none.
    """
    uri = grid.storage.store
    try:
        store = Store(uri)
        equal = with_settings(store, grid)
        changed = "" if equal else changed_since(store, grid)
    except OSError:
        raise error from None
    if not equal:
        if changed:
            note(f"the store keeps a grid {grid.name!r}, but {changed}")
        raise error
    return _with_settings_of(grid, _said(equal, error, note), uri)


def _said(equal: Sequence[Kept], error: Exception, note: Callable[[str], None]) -> Kept:
    """Return the newest of these grids, and say why it is shown, and which others there are."""
    newest, *others = equal
    note(f"as the store keeps it ({newest.text}), for here {first_line(error)}")
    if others:
        older = ", ".join(each.key for each in others)
        note(f"of the same settings on other models or texts there are also: {older}")
    return newest


def _with_settings_of(grid: Grid, kept: Kept, uri: str) -> Resolved:
    """Return the kept grid with what the file's grid says of all that asks for no results."""
    resolved = resolved_from(kept.grid, kept.key, uri)
    changes = {name: getattr(grid, name) for name in NOT_ASKED}
    return replace(resolved, grid=resolved.grid.model_copy(update=changes))
