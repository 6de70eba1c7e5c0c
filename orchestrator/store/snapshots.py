"""Snapshots of a running stage, beside its results in the store. Knows no tensors and no engine."""

from orchestrator.store.store import Store
from trsp.training.snapshots import FolderSnapshots


class StoreSnapshots(FolderSnapshots):
    """The snapshots of the stage ``key``, as ``trsp.training.snapshots.Snapshots``.

    ``attempt``: a name that is the same on all ranks of a gang, and never used before. ``latest()``
    says how far a stage has come; ``StageResults.drop_snapshots`` makes it begin anew.
    """

    def __init__(self, store: Store, key: str, attempt: str = "") -> None:
        super().__init__(store.stages.folder(key, "snapshots"), attempt)
