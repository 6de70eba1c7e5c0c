"""Which grids a store keeps, who ran them, how far they came, and who works on them now."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.coordination.drivers import SignOfLife
from orchestrator.kept_grids.shelf import Kept, all_kept
from orchestrator.store.patience import in_words
from orchestrator.store.store import Store


@dataclass(frozen=True)
class Listed:
    """A grid of a store, and the drivers that work on it now."""

    kept: Kept
    drivers: tuple[str, ...] = ()  # "process 1234 on node-1"
    size_bytes: int | None = None  # of the artifacts that it names; None where nobody asked

    @property
    def status(self) -> str:
        """``running`` while a driver lives; else how it ended; ``stopped`` where its driver died.

        ``unknown`` where an older version of trsp ran it.
        """
        if self.drivers:
            return "running"
        grid = self.kept.grid
        if not grid.is_whole:
            return "unknown"
        return grid.status if grid.ended is not None else "stopped"

    def count(self, status: str) -> int:
        """Return the number of its cells that have this status."""
        return self.kept.grid.cells.get(status, 0)

    @property
    def cells(self) -> int:
        """The number of all its cells; 0 where that is not known."""
        return sum(self.kept.grid.cells.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the grid as JSON for programs; times are seconds since the epoch."""
        grid = self.kept.grid
        return {
            "key": self.kept.key,
            "name": grid.name,
            "file": grid.file,
            "by": grid.by,
            "started": grid.started or None,
            "seen": grid.seen or None,
            "ended": grid.ended,
            "status": self.status,
            "reason": grid.reason,
            "cells": dict(grid.cells),
            "drivers": list(self.drivers),
        }


def listed(uri: str) -> tuple[Listed, ...]:
    """Return the grids of the store at ``uri``, the newest first.

    Of drivers on other machines it waits some seconds for a sign of life. UnreachableError or
    StoreError where the store cannot be read.
    """
    with in_words(uri):
        store = Store(uri)
        kept = all_kept(store)
        return tuple(_with_drivers(kept, store.claims.drivers.seen_alive() if kept else {}))


def _with_drivers(kept: Iterable[Kept], signs: Mapping[str, SignOfLife]) -> Iterable[Listed]:
    for each in kept:
        drivers = (sign.process.text for sign in signs.values() if sign.grid == each.key)
        yield Listed(each, tuple(sorted(drivers)))


def drivers_of(store: Store, key: str) -> tuple[SignOfLife, ...]:
    """Return the living drivers of a grid, for one who looks but once (see ``seen_alive``)."""
    signs = store.claims.drivers.seen_alive()
    return tuple(sign for sign in signs.values() if sign.grid == key)
