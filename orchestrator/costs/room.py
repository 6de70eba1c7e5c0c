"""Whether what a grid keeps has room on the disk of its store."""

import shutil

from orchestrator.costs.cost import GridCost
from orchestrator.store.store import Store


def lacking_bytes(cost: GridCost, store: Store) -> int:
    """Return how many bytes a local store's disk clearly lacks for what is left to do; 0: none.

    It lacks them where not even the least that is expected has room. What an object store has is
    not known.
    """
    if not store.is_local:
        return 0
    needed = cost.kept_bytes.low + cost.passing_bytes
    return max(0, round(needed - shutil.disk_usage(store.files.local_path("")).free))
