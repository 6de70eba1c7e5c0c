"""What the ranks of a running stage leave in the store until its failure is recorded.

    STAGE/ranks/ATTEMPT-00001/output.txt      all that rank 1 has printed: only in a local store
                              failure.json    how it failed, where it cannot raise an error because
                                              its watchdog ends it

A rank that is killed says nothing, but what it printed is there. Nothing is left of a rank that did
its work. It knows no cluster.
"""

from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter

from orchestrator.store.failures import RankFailure
from orchestrator.store.store import Store

TAIL_CHARS = 20_000  # how much of the end of a rank's output is kept
_FAILURE = TypeAdapter(RankFailure)


class RankReport:
    """What one rank leaves of one attempt at a stage; ``attempt`` is unique at this stage."""

    def __init__(self, store: Store, key: str, attempt: str, rank: int = 0) -> None:
        self._folder, self._name = store.stages.folder(key, "ranks"), f"{attempt}-{rank:05d}"
        ranks = self._folder.local_path
        self._local = ranks / self._name if ranks is not None else None

    def output_path(self) -> Path | None:
        """The file for this rank's output, in a folder that is made.

        None where the store is not local, or full.
        """
        if self._local is None:
            return None
        try:
            self._local.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        return self._local / "output.txt"

    def tail(self) -> str:
        """The end of what the rank printed; empty where that is not known."""
        if self._local is None:
            return ""
        try:
            return read_tail(self._local / "output.txt")
        except OSError:
            return ""

    def write(self, failure: RankFailure) -> None:
        """Keep how this rank failed, for whoever records the failure of the attempt."""
        self._folder.write(f"{self._name}/failure.json", _FAILURE.dump_json(failure))

    def failure(self) -> RankFailure | None:
        """What ``write`` kept; None where there is nothing that can be read."""
        try:
            data = self._folder.read(f"{self._name}/failure.json")
            return _FAILURE.validate_json(data) if data else None
        except (OSError, ValueError):  # a store that is away; cut short where the machine went down
            return None

    def remove(self) -> None:
        """Delete the report, as far as it can be.

        What a store that fails keeps of it goes with the next attempt.
        """
        with suppress(OSError):
            self._folder.remove(self._name)
            if self._local is not None:
                self._local.parent.rmdir()  # fails while there is more of other ranks


def read_tail(path: Path) -> str:
    """The last ``TAIL_CHARS`` bytes of a file, as text."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_CHARS))
        return file.read().decode(errors="replace")
