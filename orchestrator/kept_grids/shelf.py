"""The grids that a store keeps, found by their names, files, keys or settings."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from time import localtime, strftime

from pydantic import ValidationError

from orchestrator.grid.schema import Grid
from orchestrator.kept_grids.document import KeptGrid, asked_of
from orchestrator.parallel import at_once
from orchestrator.redact import redact
from orchestrator.store.store import Store
from trsp.errors import InvalidInputError

_PREFIX = "grid-"  # of every grid's key


@dataclass(frozen=True)
class Kept:
    """A grid as its store keeps it, with its key."""

    key: str
    grid: KeptGrid

    @property
    def text(self) -> str:
        """The grid for people: ``grid-350450795 of ada@node-1, 2026-11-24 17:03``."""
        by = f" of {self.grid.by}" if self.grid.by else ""
        when = f", {day_and_time(self.grid.started)}" if self.grid.started else ""
        return f"{short_key(self.key)}{by}{when}"


def day_and_time(when: float) -> str:
    """Return a time in seconds since the epoch as local day, hour and minute."""
    return strftime("%Y-%m-%d %H:%M", localtime(when))


def short_key(key: str) -> str:
    """Return the beginning of a grid's key, long enough to be told from others by people."""
    return key[: len(_PREFIX) + 9]


def all_kept(store: Store) -> tuple[Kept, ...]:
    """Return every grid that the store keeps, the newest first: one LIST, and a read of each."""
    names = sorted(name.removesuffix(".json") for name in store.grids.names())
    found = at_once(lambda key: _load(store, key), names)
    kept = [each for each in found if each is not None]
    return tuple(sorted(kept, key=lambda each: each.grid.started, reverse=True))


def _load(store: Store, key: str) -> Kept | None:
    """Return a kept grid; None where the document is none."""
    with suppress(ValidationError):
        if document := store.grids.load(key):
            return Kept(key, KeptGrid.model_validate(document))
    return None


def find_kept(store: Store, which: str) -> Sequence[Kept]:
    """Return the grids of this name, file name or beginning of a key, the newest first.

    InvalidInputError where there is none, and where the beginning of a key is that of several.
    """
    kept = all_kept(store)
    named = [each for each in kept if which in (each.grid.name, each.grid.file)]
    if named:
        return named
    start = which if which.startswith(_PREFIX) else f"{_PREFIX}{which}"
    keyed = [each for each in kept if each.key.startswith(start)]
    if len(keyed) == 1:
        return keyed
    raise InvalidInputError(_not_found(which, store.uri, kept, keyed))


def newest_kept(store: Store) -> Sequence[Kept]:
    """Return the grids that can be looked at, the newest first; InvalidInputError for none."""
    kept = [each for each in all_kept(store) if each.grid.is_whole]
    if not kept:
        raise InvalidInputError(
            redact(
                f"the store {store.uri} keeps no grid that can be looked at without its file; "
                "give a grid's file, or --store where one was run"
            )
        )
    return kept


def _not_found(which: str, uri: str, kept: Iterable[Kept], keyed: Sequence[Kept]) -> str:
    """Return what is said where no grid, or more than one, was meant."""
    if keyed:
        several = ", ".join(each.key for each in keyed)
        return f"{which!r} is the beginning of several grids' keys: {several}; give more of it"
    names = list(dict.fromkeys(each.grid.name for each in kept))
    near = get_close_matches(which, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    known = f"it keeps {', '.join(names)}{hint}" if names else "it keeps no grid yet"
    cure = "" if hint else "; give a grid's file, or --store where it was run"
    return redact(f"no grid {which!r} in the store {uri}: {known}{cure}")


def with_settings(store: Store, grid: Grid) -> Sequence[Kept]:
    """Return the grids of this name that were asked for by equal settings, the newest first."""
    asked = asked_of(grid)
    return [
        each
        for each in all_kept(store)
        if each.grid.is_whole and each.grid.name == grid.name and each.grid.asked == asked
    ]


def changed_since(store: Store, grid: Grid) -> str:
    """Return what has changed since the newest grid of this name was run; "" where none was.

    ``ratios, seeds have changed since it was run (grid-350450795 of ada@node-1, ...)``
    """
    asked = asked_of(grid)
    for each in all_kept(store):
        if each.grid.is_whole and each.grid.name == grid.name:
            before = each.grid.asked
            keys = [key for key in {**before, **asked} if before.get(key) != asked.get(key)]
            have = "has" if len(keys) == 1 else "have"
            return f"{', '.join(keys)} {have} changed since it was run ({each.text})"
    return ""
