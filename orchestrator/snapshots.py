"""Snapshots of a running stage, beside its other results in the store. Knows no tensors and no engine."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from orchestrator.store import Store


class StoreSnapshots:
    """``trsp.snapshots.Snapshots`` of the stage ``key``. ``attempt``: the same on all ranks of a gang, and never used before."""

    def __init__(self, store: Store, key: str, attempt: str, rank: int = 0) -> None:
        self._store, self._key, self._attempt, self._rank = store, key, attempt, rank
