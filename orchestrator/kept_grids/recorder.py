"""Keeps a grid's document in the store up to date while its driver works, seldom and cheaply."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from orchestrator.redact import redact
from orchestrator.store.store import Store
from orchestrator.views.build import CANCELLED
from orchestrator.views.grid_view import SETTLED, GridView, Status

SAVE_EVERY_S = 20.0  # at most, where cells have changed
SAVE_ANYWAY_S = 120.0  # where none has


class GridRecorder:
    """Says in a grid's document how far it is. To be used by one thread at a time.

    A document that is not there stays so: whoever starts a grid writes it. ``clock`` gives seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._saved_at = float("-inf")
        self._saved: Mapping[str, Any] = {}

    def record(self, view: GridView) -> bool:
        """Save how far the grid is, if that is due. Return False: it is never finished."""
        standing, silent_s = _standing(view), self._clock() - self._saved_at
        due = silent_s >= (SAVE_ANYWAY_S if standing == self._saved else SAVE_EVERY_S)
        by_people = standing["cancelled"] != self._saved.get("cancelled", {})  # who look at once
        if (due or by_people) and view.cells:
            self._save(view, standing)
        return False

    def conclude(self, view: GridView) -> None:
        """Save how the grid ended. Nothing happens where the store does not take it."""
        over = view.status in (*SETTLED, Status.KILLED)
        if view.cells:
            self._save(view, _standing(view) | ({"ended": time.time()} if over else {}))

    def _save(self, view: GridView, standing: Mapping[str, Any]) -> None:
        self._saved_at, self._saved = self._clock(), standing
        with suppress(OSError):
            if kept := self._store.grids.load(view.key):
                said = {**kept, **standing, "seen": time.time()}
                self._store.grids.save(view.key, said)


def _standing(view: GridView) -> dict[str, Any]:
    """Return what the document says of how far a grid is."""
    cells = Counter(str(cell.status) for cell in view.cells)
    killed = {c.cell.key: redact(c.reason) for c in view.cells if c.status is Status.KILLED}
    return {
        "status": str(view.status),
        "reason": redact(view.reason),
        "cells": dict(cells),
        "cancelled": {key: why for key, why in killed.items() if why.startswith(CANCELLED)},
    }
