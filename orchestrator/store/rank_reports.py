"""What the ranks of a running stage leave in the store until its failure is recorded. Knows no cluster.

    STAGE/ranks/ATTEMPT-00001/output.txt      all that rank 1 has printed: only where the store is a folder
                              failure.json    what it says of itself where it cannot raise an error: its watchdog ends it

A rank that is killed says nothing, but what it printed is there. Nothing is left of a rank that did its work.
"""

from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter

from orchestrator.store.failures import RankFailure
from orchestrator.store.store import Store

TAIL = 20_000  # characters of a rank's output that are kept
_FAILURE = TypeAdapter(RankFailure)


class RankReport:
    """Of one rank in one attempt at a stage."""

    def __init__(self, store: Store, key: str, attempt: str, rank: int = 0) -> None:
        self._folder, self._name = store.stages.folder(key, "ranks"), f"{attempt}-{rank:05d}"
        self._local = Path(store.stages.uri(key)) / "ranks" / self._name if store.is_local else None

    def output(self) -> Path | None:
        """Where this rank's output goes, in a folder that is made. None where the store is no folder, or full."""
        if self._local is None:
            return None
        try:
            self._local.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        return self._local / "output.txt"

    def tail(self) -> str:
        """The end of what the rank printed; empty where that is not known."""
        try:
            return tail(self._local / "output.txt") if self._local else ""
        except OSError:
            return ""

    def write(self, failure: RankFailure) -> None:
        self._folder.write(f"{self._name}/failure.json", _FAILURE.dump_json(failure))

    def failure(self) -> RankFailure | None:
        data = self._folder.read(f"{self._name}/failure.json")
        return _FAILURE.validate_json(data) if data else None

    def remove(self) -> None:
        """As far as it can be: what a store that fails keeps of it goes with the next attempt."""
        with suppress(OSError):
            self._folder.remove(self._name)
            if self._local is not None:
                self._local.parent.rmdir()  # fails while there is more of other ranks


def tail(path: Path) -> str:
    """The last characters of a file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read().decode(errors="replace")
