"""What people wish of the drivers of a grid while these work: to stop, or to try something again.

    ROOT/wishes/GRID/NUMBER-NONCE.json      a wish, never changed; NUMBER: nanoseconds when made
                     NUMBER-NONCE.by-OWNER  a driver has taken it up

Every driver of the grid obeys it. It knows no cells and no stages, only their keys.
"""

import json
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError

from orchestrator.coordination.drivers import Files

LOOK_EVERY_S = 4.0  # one LIST each time
KEPT_S = 86_400.0  # wishes that are older are removed by the next driver


class WishKind(StrEnum):
    """What is wished for."""

    CANCEL = "cancel"
    RETRY = "retry"


@dataclass(frozen=True)
class Wish:
    """A wish. Without cells it is about the whole grid."""

    kind: WishKind
    by: str  # user@host
    cells: tuple[str, ...] = ()  # their keys
    stages: tuple[str, ...] = ()  # the keys of those that are to be tried again


_WISH = TypeAdapter(Wish)


class Wishes:
    """The wishes about the grids of one store."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def make(self, grid: str, wish: Wish) -> str:
        """Let the drivers of a grid know of a wish; return its name. OSError: the store is away."""
        name = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}"
        self._files.create(f"{_folder(grid)}/{name}.json", json.dumps(asdict(wish)).encode())
        return name

    def names(self, grid: str) -> tuple[str, ...]:
        """Return the names of the wishes about a grid, the oldest first."""
        files = self._files.names(_folder(grid))
        return tuple(name.removesuffix(".json") for name in files if name.endswith(".json"))

    def read(self, grid: str, name: str) -> Wish | None:
        """Return a wish; None where there is none that can be read."""
        with suppress(ValidationError):
            return _WISH.validate_json(self._files.read(f"{_folder(grid)}/{name}.json") or b"")
        return None

    def take_up(self, grid: str, name: str, owner: str) -> None:
        """Say that the driver ``owner`` obeys a wish."""
        self._files.create(f"{_folder(grid)}/{name}.by-{owner}", b"")

    def taken_up_by(self, grid: str, name: str) -> tuple[str, ...]:
        """Return the drivers that obey a wish."""
        before = f"{name}.by-"
        files = self._files.names(_folder(grid))
        return tuple(file.removeprefix(before) for file in files if file.startswith(before))

    def remove_old(self, grid: str) -> None:
        """Remove the wishes of long ago, which nobody waits for."""
        for file in self._files.names(_folder(grid)):
            made = file.partition("-")[0]
            if made.isdigit() and time.time() - int(made) / 1e9 > KEPT_S:
                with suppress(FileNotFoundError):
                    self._files.remove_file(f"{_folder(grid)}/{file}")


class NewWishes:
    """The wishes that came since a driver began, for that driver. ``clock`` gives seconds."""

    def __init__(self, wishes: Wishes, grid: str, owner: str, clock: Callable[[], float]) -> None:
        self._wishes, self._grid, self._owner, self._clock = wishes, grid, owner, clock
        self._seen: set[str] | None = None  # None: not begun
        self._looked = float("-inf")

    def begin(self) -> None:
        """Pass over what was wished of earlier drivers. OSError: the store gives no answer."""
        if self._seen is None:
            self._wishes.remove_old(self._grid)
            self._seen = set(self._wishes.names(self._grid))
            self._looked = self._clock()

    def look(self) -> tuple[Wish, ...]:
        """Return the new wishes, each once, and say that they are obeyed; asked now and then.

        Those that the store gives no answer to come next time. OSError: it gave none at all.
        """
        self.begin()
        if self._seen is None or self._clock() - self._looked < LOOK_EVERY_S:
            return ()
        self._looked = self._clock()
        new = [name for name in self._wishes.names(self._grid) if name not in self._seen]
        found: list[Wish] = []
        with suppress(OSError):
            for name in new:
                wish = self._wishes.read(self._grid, name)
                self._wishes.take_up(self._grid, name, self._owner)
                self._seen.add(name)
                found += [wish] if wish is not None else []
        return tuple(found)


def _folder(grid: str) -> str:
    return f"wishes/{grid}"
