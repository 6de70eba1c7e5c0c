"""Snapshots of a running stage, beside its results in the store. Knows no tensors and no engine."""

from functools import partial

from orchestrator.coordination.stage_log import Ticket
from orchestrator.store.store import Store
from trsp.training.snapshots import FolderSnapshots


class StoreSnapshots(FolderSnapshots):
    """The snapshots of the stage ``key``, as ``trsp.training.snapshots.Snapshots``.

    ``ticket``: of the attempt that takes them, the same on all ranks of a gang; None for who only
    looks. ``latest()`` says how far a stage has come; ``StageResults.drop_snapshots`` makes it
    begin anew. Whatever changes them raises ClaimLostError where the attempt has lost the stage.
    """

    def __init__(self, store: Store, key: str, ticket: Ticket | None = None) -> None:
        folder = store.stages.folder(key, "snapshots")
        if ticket is None:
            super().__init__(folder)
        else:
            super().__init__(folder, ticket.attempt, partial(store.claims.log.require, ticket))
