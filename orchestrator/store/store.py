"""What exists, and who works on it: all that drivers and workers know of each other goes through the store.

Everything is written whole or not at all. The store is the truth: what lies in it was computed and need not be again.
It knows nothing of grids, cells or MLflow. The layout, below the root:

    grids/KEY.json                       the hardware a grid ran on
    layouts/KEY.json                     how far the ladder was climbed, for stages that ran out of memory
    stages/KIND/KEY/spec.json            what was asked: the resolved inputs that the key hashes
                    rounds/000.json      of a ranking only: one removed layer each, published while the ranking runs
                    snapshots/           of a stage that still trains (trsp/training/snapshots.py); gone when it is done
                    ranks/               of a stage that runs (rank_reports.py)
                    files-ATTEMPT/       artifacts: weights, checkpoint
                    result.json          the record, and the name of its files folder; comes last and means done
                    failures/ATTEMPT.json, log-ATTEMPT.txt
                    claim.json           who works on it now
"""

from orchestrator.store.claims import Claims
from orchestrator.store.failure_log import FailureLog
from orchestrator.store.files import JsonDocuments, StoreFiles
from orchestrator.store.rankings import Rankings
from orchestrator.store.stage_results import StageResults


class Store:
    """Everything under one root: ``/path``, ``file:///path``, ``s3://bucket/prefix`` or ``gs://bucket/prefix``.

    Options of an object store stand in the URI's query. Raises StoreError for an address that names no place.
    """

    def __init__(self, uri: str) -> None:
        self.files = StoreFiles(uri)
        self.stages = StageResults(self.files)
        self.rankings = Rankings(self.files)
        self.claims = Claims(self.files)
        self.failures = FailureLog(self.files)
        # What only a running cluster knows of a grid (its hardware), for those who read the results without one.
        self.grids = JsonDocuments(self.files, "grids")
        # Learned of memory, for all drivers: stages whose layout begins at the one keyed are to begin at this one.
        self.layouts = JsonDocuments(self.files, "layouts")

    @property
    def uri(self) -> str:
        """The root's address, as it was given but for a slash at its end."""
        return self.files.uri

    @property
    def is_local(self) -> bool:
        """Whether the root lies on a file system of this machine, its own or a shared one."""
        return self.files.is_local
