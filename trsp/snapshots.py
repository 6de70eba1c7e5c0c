"""Where a stage that still trains keeps its state, so that a killed one goes on: the protocol. Knows no engine and no store.

A snapshot is a folder of safetensors files, one a rank, and a small JSON state; what is not committed does not exist.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class Snapshots(Protocol):
    """Snapshots of one stage. ``step`` counts finished steps. Called by all ranks together."""

    def latest(self) -> tuple[int, Mapping[str, Any]] | None:
        """Step and JSON state of the newest committed snapshot; None where there is none."""

    def files(self, step: int) -> AbstractContextManager[Path]:
        """A local folder with all ranks' files of a committed snapshot."""

    def write(self, step: int) -> AbstractContextManager[Path]:
        """A local folder for this rank's files of a new snapshot; on leaving, they are where they belong."""

    def commit(self, step: int, state: Mapping[str, Any]) -> None:
        """Rank 0, after every rank has left ``write``: from now on this is the latest; older ones are removed."""
