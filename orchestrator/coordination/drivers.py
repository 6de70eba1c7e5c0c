"""Which drivers live: each says so in one file, and the others watch that file change.

Nobody compares clocks: a driver is dead when its file has not changed for so long on the watcher's
own clock, or when its process is known to be gone. It knows no stages, only their keys.
"""

import json
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from orchestrator.coordination.process import ProcessIdentity

# A driver that has given no sign of life for so long is dead; it gives so many in that time.
CLAIM_LIFETIME_S = 60.0
SIGNS_PER_LIFETIME = 20
_MOST_PER_LOOK = 0.1  # of a lifetime, that one look at an unchanged file adds to its silence
_FOLDER = "drivers"


class Files(Protocol):
    """What is needed of a store's files. Paths are relative to its root."""

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file, whole or not at all."""

    def create(self, path: str, data: bytes) -> bool:
        """Create a file, whole. False, with nothing done, where another one stands there."""

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; empty where there is none."""

    def remove_file(self, path: str) -> None:
        """Delete a file. Raises FileNotFoundError where there is none."""

    def remove_folder(self, path: str) -> None:
        """Delete a folder with all that is in it. Raises FileNotFoundError where there is none."""


@dataclass(frozen=True)
class SignOfLife:
    """What a driver says of itself, again and again."""

    owner: str  # the driver's name, unique for ever
    process: ProcessIdentity
    nonce: str = ""  # another one each time
    keys: tuple[str, ...] = ()  # of the stages that it holds
    grid: str = ""  # the key of the grid that it works on; "" where that was not said
    news: Mapping[str, Any] = field(default_factory=dict)  # of its work, for people (JSON)


_SIGN = TypeAdapter(SignOfLife)


@dataclass
class _Watched:
    """One driver as this process has seen it."""

    nonce: str | None  # None: there was no file
    looked: float  # when it was looked at last, on our clock
    silent_s: float = 0.0  # for how long it has not changed while we looked on
    changed: bool = False  # whether it was seen to change

    def see(self, nonce: str | None, now: float, most_s: float) -> None:
        """Take up a look. A time in which we did not look ourselves says little of others."""
        if nonce == self.nonce:
            self.silent_s += min(now - self.looked, most_s)
        elif nonce is None:
            self.silent_s = float("inf")  # it said goodbye, or somebody found it dead
        else:
            self.silent_s, self.changed = 0.0, self.nonce is not None
        self.nonce, self.looked = nonce, now


class Drivers:
    """The drivers of one store: their signs of life, and how this process judges them."""

    def __init__(
        self,
        files: Files,
        lifetime_s: float = CLAIM_LIFETIME_S,
        recheck_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``recheck_s``: for so long, a look at all drivers is believed."""
        self.lifetime_s = lifetime_s
        self._files, self._recheck_s, self._clock = files, recheck_s, clock
        self._watched: dict[str, _Watched] = {}
        self._signs: dict[str, SignOfLife] = {}
        self._looked = float("-inf")
        self._lock = threading.RLock()

    def say(
        self,
        owner: str,
        process: ProcessIdentity,
        keys: Collection[str] = (),
        grid: str = "",
        news: Mapping[str, Any] | None = None,
    ) -> None:
        """Give a sign of life of ``owner``, who holds these stages for this grid.

        ``news`` of its work goes with it.
        """
        held = tuple(sorted(keys))
        sign = SignOfLife(owner, process, uuid.uuid4().hex[:12], held, grid, news or {})
        self._files.write(_path(owner), json.dumps(asdict(sign)).encode())

    def leave(self, owner: str) -> None:
        """Say goodbye: nothing is left of this driver, or of a dead one."""
        with suppress(FileNotFoundError):
            self._files.remove_file(_path(owner))

    def is_alive(self, owner: str, process: ProcessIdentity) -> bool:
        """Whether a driver lives, as far as can be known here.

        One that has no file, and never was seen with one, has until a lifetime from now to show it:
        some file systems show new files late. One that was silent for too long is looked at again:
        it may have woken up.
        """
        if process.is_gone():
            return False
        with self._lock:
            self._look()
            watched = self._watched.setdefault(owner, _Watched(None, self._clock()))
            if watched.silent_s >= self.lifetime_s:
                sign = self._sign(f"{owner}.json")
                watched.see(sign.nonce if sign else None, self._clock(), 0.0)
            return watched.silent_s < self.lifetime_s

    def living(self) -> dict[str, SignOfLife]:
        """Return the last sign of life of each driver that lives, by owner: one LIST."""
        with self._lock:
            self._look()
            return {owner: sign for owner, sign in self._signs.items() if self._lives(owner, sign)}

    def remove_dead(self) -> None:
        """Delete the files of drivers that are dead. One that is not writes its own again."""
        with self._lock:
            self._look()
            dead = [owner for owner, sign in self._signs.items() if not self._lives(owner, sign)]
            for owner in dead:
                self.leave(owner)
                del self._signs[owner]

    def seen_alive(self) -> dict[str, SignOfLife]:
        """Return the living drivers for one who has not watched them: it waits for a second sign.

        It does not wait where all of them are processes that can be looked up here.
        """
        here = ProcessIdentity.here()
        signs = self.living()
        if all(sign.process.is_near(here) for sign in signs.values()):
            return signs
        time.sleep(1.5 * self.lifetime_s / SIGNS_PER_LIFETIME + self._recheck_s)
        return {
            owner: sign
            for owner, sign in self.living().items()
            if sign.process.is_near(here) or self._watched[owner].changed
        }

    def _lives(self, owner: str, sign: SignOfLife) -> bool:
        return self._watched[owner].silent_s < self.lifetime_s and not sign.process.is_gone()

    def _look(self) -> None:
        """Look at all drivers, unless that was done just now."""
        now = self._clock()
        if now - self._looked < self._recheck_s:
            return
        signs = {sign.owner: sign for sign in self._read()}
        for owner in {*signs, *self._watched}:
            nonce = signs[owner].nonce if owner in signs else None
            watched = self._watched.setdefault(owner, _Watched(nonce, now))
            watched.see(nonce, now, _MOST_PER_LOOK * self.lifetime_s)
        self._signs, self._looked = signs, now

    def _read(self) -> Iterator[SignOfLife]:
        """Yield the signs of life that can be read."""
        for name in self._files.names(_FOLDER):
            if sign := self._sign(name):
                yield sign

    def _sign(self, name: str) -> SignOfLife | None:
        """Return the sign of life in a file; None where there is none that can be read."""
        data = self._files.read(f"{_FOLDER}/{name}")
        with suppress(ValidationError):
            return _SIGN.validate_json(data or b"")
        return None


def _path(owner: str) -> str:
    return f"{_FOLDER}/{owner}.json"
