"""Whether a plan can look at a grid's store at once: without the network, and reading little."""

from pathlib import Path

from orchestrator.grid.schema import Grid
from orchestrator.stages.fingerprints import unread_bytes
from orchestrator.stages.model_info import content_files
from orchestrator.stages.preconditions import texts_of
from trsp.checkpoints.model_source import local_folder

_MOST_READ_BYTES = 10**9  # about a second


def store_is_at_hand(grid: Grid) -> bool:
    """Whether all that the grid's keys are made of lies on this machine, and so does its store.

    Weights whose hashes are not known yet are read for that: it is to be little of them.
    """
    store = grid.storage.store
    if "://" in store or not (Path(store) / "stages").is_dir():
        return False
    if any(text.dataset is not None for text, *_ in texts_of(grid)):
        return False
    benchmarks = grid.evaluation.benchmarks
    if benchmarks is not None and benchmarks.data is None:
        return False
    folders = [local_folder(entry.source) for entry in grid.models]
    files = [file for folder in folders if folder for file in content_files(folder)]
    return None not in folders and unread_bytes(files) <= _MOST_READ_BYTES
