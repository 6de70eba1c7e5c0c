"""Removes from a store what was decided to go, safe against whoever starts or ends meanwhile.

Each stage is claimed before anything of it goes. Of a result, what makes it one goes first: then it
is looked whether a grid has come that may need it, and if so it is put back. A driver that read the
result had written its grid before; one that reads later finds none, and waits for the claim. Killed
at any moment, this leaves files that no result names, for the next time. A stage's log of claims
stays: without it, an attempt that was thought dead could still commit.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from orchestrator.coordination.stage_log import CLAIMS_FOLDER, stage_folder
from orchestrator.keeping.decide import Action, Removal
from orchestrator.parallel import at_once
from orchestrator.scheduler.holdings import Holdings
from orchestrator.store.claims import Held, Standing
from orchestrator.store.store import Store

_AT_ONCE = 32  # stages between two looks for new grids
SWEEPER = "gc"  # in its signs of life, in the place of a grid


@dataclass
class Swept:
    """What came of a sweep."""

    removed: list[Removal] = field(default_factory=list)
    skipped: int = 0  # stages that somebody works on now
    stopped: str = ""  # why the rest was left alone

    @property
    def size_bytes(self) -> int:
        """The bytes that were freed."""
        return sum(removal.size_bytes for removal in self.removed)


@dataclass
class _Taken:
    """A claimed stage, and of a result what made it one, by the path in the store."""

    removal: Removal
    marks: dict[str, bytes] = field(default_factory=dict)


class Sweep:
    """One sweep through a store. ``seen``: the ``asking`` that the decision knew of."""

    def __init__(self, store: Store, seen: frozenset[str]) -> None:
        self._store, self._seen = store, seen
        self._holdings = Holdings(store.claims, SWEEPER)

    def remove(self, removals: Sequence[Removal]) -> Swept:
        """Remove all of it, or up to where a grid comes that may need it; return what came."""
        swept = Swept()
        try:
            for start in range(0, len(removals), _AT_ONCE):
                some = removals[start : start + _AT_ONCE]
                taken = [each for each in at_once(self._take, some) if each is not None]
                swept.skipped += len(some) - len(taken)
                if self._newcomers():
                    at_once(self._put_back, taken)
                    swept.stopped = "a driver has begun meanwhile, which may need the rest"
                    break
                at_once(self._finish, taken)
                swept.removed += [each.removal for each in taken]
        finally:
            self._holdings.close()
        return swept

    def _newcomers(self) -> frozenset[str]:
        """Return the grids and drivers that came since the decision."""
        return asking(self._store) - self._seen - {f"drivers/{self._holdings.owner}.json"}

    def _take(self, removal: Removal) -> _Taken | None:
        """Claim a stage, and make its result none where it is to go; None where it is held."""
        if isinstance(self._holdings.take(removal.key), Held):
            return None
        taken = _Taken(removal)
        if removal.action is Action.RESULT:
            for path in self._marks(removal.key):
                data = self._store.files.read(path)
                if data is not None:
                    taken.marks[path] = data
                    self._store.files.remove_file(path)
        return taken

    def _marks(self, key: str) -> list[str]:
        """Return the files that make a result one, in the order in which they go.

        The rounds of a ranking go from the last: what stands is a ranking at any moment.
        """
        folder = stage_folder(key)
        rounds = self._store.files.names(f"{folder}/rounds")
        return [f"{folder}/result.json", *(f"{folder}/rounds/{name}" for name in rounds[::-1])]

    def _put_back(self, taken: _Taken) -> None:
        for path, data in reversed(taken.marks.items()):
            self._store.files.write(path, data)
        self._holdings.release(taken.removal.key)

    def _finish(self, taken: _Taken) -> None:
        """Delete the files that go, and give the stage back."""
        key, stages = taken.removal.key, self._store.stages
        if self._holdings.standing(key) is not Standing.HELD:
            return  # we were away for so long that another took it
        match taken.removal.action:
            case Action.RESULT:
                self._remove_rest(key)
            case Action.WEIGHTS:
                stages.drop_files(key)
            case Action.LEFT:
                if stages.stored(key) is not None:
                    stages.drop_snapshots(key)
        if taken.removal.action is not Action.RESULT:
            stages.remove_orphans(key)
        self._holdings.release(key)

    def _remove_rest(self, key: str) -> None:
        """Delete all that lies in a stage's folder, but for its log of claims."""
        files, folder = self._store.files, stage_folder(key)
        for name in files.names(folder):
            if name == CLAIMS_FOLDER:
                continue
            remove = files.remove_file if "." in name else files.remove_folder
            with suppress(FileNotFoundError):
                remove(f"{folder}/{name}")


def asking(store: Store) -> frozenset[str]:
    """Return the files by which all grids and drivers of a store are known: two LISTs."""
    grids = {f"grids/{name}" for name in store.grids.names()}
    return frozenset(grids | {f"drivers/{name}" for name in store.files.names("drivers")})


def forget_grids(store: Store, keys: Sequence[str]) -> None:
    """Delete what the store keeps of these grids, so that their results are nobody's."""
    for key in keys:
        with suppress(FileNotFoundError):
            store.files.remove_file(f"grids/{key}.json")
