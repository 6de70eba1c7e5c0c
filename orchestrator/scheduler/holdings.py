"""The stages that one driver holds: its claims, its signs of life, and what it has lost.

It knows no launcher, and of results no more than that their files can be dropped.
"""

import os
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from orchestrator.coordination.heartbeat import Heartbeat
from orchestrator.parallel import at_once
from orchestrator.store.claims import Claims, Held, Standing, Ticket
from orchestrator.store.patience import passes
from orchestrator.store.stage_results import StageResults

# Between two tries to give back what could not be given back; and for so long, a store that gave no
# answer is not asked to take back more.
OWED_RETRY_S = 5.0


class Holdings:
    """What one driver holds of a store, by the stage's key."""

    def __init__(self, claims: Claims, grid: str = "") -> None:
        """``grid``: the key of the grid for which the driver holds stages."""
        self._claims = claims
        self._owner = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()  # several stages are claimed and released at a time
        self._tickets: dict[str, Ticket] = {}
        self._owed: dict[str, Ticket] = {}  # of stages that are to be given back
        self._doubtful: set[str] = set()  # stages that were perhaps claimed: no answer came
        self._tried = time.monotonic()  # to give them back
        self._away_until = float("-inf")
        self._heartbeat = Heartbeat(claims.drivers, self._owner, grid=grid)
        self._goodbye = weakref.finalize(self, self._heartbeat.end)

    @property
    def owner(self) -> str:
        """The driver's name, unique for ever."""
        return self._owner

    def __contains__(self, key: str) -> bool:
        return key in self._tickets

    def close(self) -> None:
        """Give back what is owed and say goodbye. No stage can be claimed afterwards.

        What dead drivers left goes with the last one that lives.
        """
        self._give_back()
        self._goodbye()
        with suppress(OSError):
            self._claims.drivers.remove_dead()

    def appear(self) -> None:
        """Be seen by others from now on, before anything is claimed.

        Raises OSError where the store cannot be written.
        """
        with self._lock:
            self._heartbeat.begin()

    def take(self, key: str) -> Ticket | Held:
        """Claim a stage for a new attempt, or return who holds it.

        Raises OSError where the store cannot be read or written.
        """
        with self._lock:
            self._heartbeat.begin()
        try:
            taken = self._claims.take(key, self._owner)
        except OSError:
            self._doubtful.add(key)
            raise
        self._doubtful.discard(key)
        if isinstance(taken, Ticket):
            with self._lock:
                self._tickets[key] = taken
                self._owed.pop(key, None)  # the new claim is in its place
                self._heartbeat.hold(self._tickets)
        return taken

    def tell(self, news: Mapping[str, Any]) -> None:
        """Let this driver's next signs of life carry the news of its work (JSON)."""
        self._heartbeat.tell(news)

    def release(self, key: str) -> Standing:
        """Give a stage back, if this driver has claimed it; return how it stood to it.

        A result that was committed is then in its place. What the store does not take is given back
        later, and at the latest when this driver ends.
        """
        with self._lock:
            ticket = self._tickets.pop(key, None)
            self._heartbeat.hold(self._tickets)
        if ticket is None:
            return Standing.LOST
        try:
            if time.monotonic() >= self._away_until:
                return self._claims.release(ticket)
        except OSError as error:
            if passes(error):
                self._away_until = time.monotonic() + OWED_RETRY_S
        self._owed[key] = ticket
        return Standing.HELD

    def release_all(self, keys: Iterable[str]) -> None:
        """Give these stages back, one after another."""
        for key in keys:
            self.release(key)

    def standing(self, key: str) -> Standing:
        """Return how this driver stands to a stage that it has claimed.

        As far as the store can be read: what is not known to be lost is held.
        """
        ticket = self._tickets.get(key)
        if ticket is None:
            return Standing.LOST
        try:
            return self._claims.log.standing(ticket)
        except OSError:
            return Standing.HELD

    def lost(self) -> tuple[str, ...]:
        """Return the keys of the stages that others have taken over meanwhile.

        They are looked at after each pause in which others may have thought this driver dead. Until
        the store can be read again, nothing is lost.
        """
        gaps = self._heartbeat.gaps()
        if not gaps:
            return ()
        try:
            tickets = list(self._tickets.values())
            standings = at_once(self._claims.log.standing, tickets)
        except OSError:
            return ()
        self._heartbeat.checked(gaps)
        stood = zip(tickets, standings, strict=True)
        return tuple(ticket.key for ticket, standing in stood if standing is Standing.LOST)

    def elsewhere(self) -> dict[str, str]:
        """Return who works on the stages that other living drivers hold, by key, for people.

        By what they said seconds ago; only ``take`` is exact. Raises OSError where the store cannot
        be read.
        """
        others = self._claims.held_by_others(self._owner)
        return {key: held.text for key, held in others.items()}

    def tend(self) -> None:
        """Give back what is owed, now and then; and clear away what dead drivers left."""
        now = time.monotonic()
        if now - self._tried < OWED_RETRY_S:
            return
        self._tried = now
        self._give_back()
        with suppress(OSError):
            self._claims.drivers.remove_dead()

    def _give_back(self) -> None:
        """Give back what is owed, up to the first request that the store gives no answer to.

        A request that it refuses keeps nothing else from being given back.
        """
        for key, ticket in list(self._owed.items()):
            try:
                self._claims.release(ticket)
            except OSError as error:
                if passes(error):
                    return
            else:
                del self._owed[key]
        with suppress(OSError):
            for key in list(self._doubtful):
                self._claims.release_unknown(key, self._owner)
                self._doubtful.discard(key)


def drop_unheld_files(stages: StageResults, holdings: Holdings, key: str) -> bool:
    """Drop a stage's artifacts under its claim; False where there are none, or somebody has it.

    Raises OSError where the store cannot be read or written.
    """
    if key in holdings or not stages.has_files(key) or isinstance(holdings.take(key), Held):
        return False
    try:
        stages.drop_files(key)
    finally:
        holdings.release(key)
    return True
