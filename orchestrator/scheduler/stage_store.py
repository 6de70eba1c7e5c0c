"""What one driver does in the store about the stages of its grid: claims, failures, cleaning up.

All of the controller's calls of the store are here. It knows neither the launcher nor what follows
from a failure.
"""

import os
import time
import uuid
import weakref
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.coordination.heartbeat import Heartbeat
from orchestrator.scheduler.state import Progress
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.claims import Held, Standing, Ticket
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure
from orchestrator.store.rank_reports import RankReport
from orchestrator.store.results import StoreResults
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store

# How long to look for the rounds that a ranking says it has published: NFS may show them late.
LATE_ROUNDS_S = (0.0, 0.5, 2.0, 5.0)
OWED_RETRY_S = 5.0  # between two tries to give back what could not be given back


@dataclass(frozen=True)
class Claimed:
    """The stage is this driver's to start, by this ticket."""

    progress: Progress  # what earlier attempts have left
    ticket: Ticket


@dataclass(frozen=True)
class ClaimedElsewhere:
    """Another living driver works on the stage."""

    holder: str  # "another driver (process 1234 on node-1)"


@dataclass(frozen=True)
class AlreadySatisfied:
    """Another driver has done what the stage was to be started for."""


@dataclass(frozen=True)
class ClaimFailed:
    """The store could not be read or written; nobody holds the stage because of us."""

    failure: Failure


ClaimOutcome = Claimed | ClaimedElsewhere | AlreadySatisfied | ClaimFailed


class StageStore:
    """The stages of one grid in the store, as one driver reads and writes them."""

    def __init__(self, store: Store, results: StoreResults, *, keep_transfer_weights: bool) -> None:
        """``keep_transfer_weights``: stage two's weights stay where they are."""
        self.uri = store.uri
        self._keep_transfer_weights = keep_transfer_weights
        self._store = store
        self._results = results
        self._owner = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._tickets: dict[str, Ticket] = {}  # of the stages that this driver holds, by key
        self._owed: dict[str, Ticket] = {}  # of those that are to be given back
        self._tried = time.monotonic()  # to give them back
        self._heartbeat = Heartbeat(store.claims.drivers, self._owner)
        self._goodbye = weakref.finalize(self, self._heartbeat.end)

    def close(self) -> None:
        """Give back what is owed and say goodbye. No stage can be claimed afterwards."""
        self._give_back()
        self._goodbye()

    def claim(self, spec: StageSpec) -> ClaimOutcome:
        """Claim a stage for this driver, and clear away what a dead attempt left half-written.

        The claim is held only where the outcome is ``Claimed``.
        """
        try:
            self._heartbeat.begin()
            taken = self._store.claims.take(spec.key, self._owner)
        except OSError as error:
            return ClaimFailed(failure_of(error))
        if isinstance(taken, Held):
            return ClaimedElsewhere(taken.text)
        self._hold(taken)
        try:
            return self._prepare(spec, taken)
        except OSError as error:
            self.release(spec.key)
            return ClaimFailed(failure_of(error))

    def _prepare(self, spec: StageSpec, ticket: Ticket) -> Claimed | AlreadySatisfied:
        """Make a stage that was just claimed ready to start, or release it where it need not."""
        # Another driver may have finished it between our look and our claim.
        self._results.forget(spec.key)
        if self.is_satisfied(spec):
            self.release(spec.key)
            return AlreadySatisfied()
        self._store.stages.remove_orphans(spec.key)
        return Claimed(self.progress(spec.key), ticket)

    def held_elsewhere(self) -> dict[str, str]:
        """Return who works on the stages that other living drivers hold, by key, for people.

        By what they said seconds ago, as far as the store can be read; only ``claim`` is exact.
        """
        try:
            others = self._store.claims.held_by_others(self._owner)
        except OSError:
            return {}
        return {key: held.text for key, held in others.items()}

    def standing(self, key: str) -> Standing:
        """Return how this driver stands to a stage that it has claimed.

        As far as the store can be read: what is not known to be lost is held.
        """
        ticket = self._tickets.get(key)
        if ticket is None:
            return Standing.LOST
        try:
            return self._store.claims.log.standing(ticket)
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
            log = self._store.claims.log
            standings = {key: log.standing(ticket) for key, ticket in self._tickets.items()}
        except OSError:
            return ()
        self._heartbeat.checked(gaps)
        return tuple(key for key, standing in standings.items() if standing is Standing.LOST)

    def release(self, key: str) -> Standing:
        """Give a stage back, if this driver has claimed it; return how it stood to it.

        A result that was committed is then in its place. One that the store does not let go is
        given back later, and at the latest when this driver ends.
        """
        ticket = self._tickets.pop(key, None)
        self._heartbeat.hold(self._tickets)
        if ticket is None:
            return Standing.LOST
        try:
            return self._store.claims.release(ticket)
        except OSError:
            self._owed[key] = ticket
            return Standing.HELD

    def tend(self) -> None:
        """Give back what is owed, now and then; and clear away what dead drivers left."""
        now = time.monotonic()
        if now - self._tried < OWED_RETRY_S:
            return
        self._tried = now
        self._give_back()
        with suppress(OSError):
            self._store.claims.drivers.remove_dead()

    def _give_back(self) -> None:
        with suppress(OSError):
            for key, ticket in list(self._owed.items()):
                self._store.claims.release(ticket)
                del self._owed[key]

    def _hold(self, ticket: Ticket) -> None:
        self._tickets[ticket.key] = ticket
        self._owed.pop(ticket.key, None)  # the new claim is in its place
        self._heartbeat.hold(self._tickets)

    def has_begun(self, key: str, attempt: str) -> bool:
        """Whether an attempt at a stage has its device and computes, as far as is known."""
        return RankReport(self._store, key, attempt).has_begun()

    def progress(self, key: str) -> Progress:
        """Return how far the stage has come, as the store has it now."""
        newest = StoreSnapshots(self._store, key).latest()
        rounds = self._store.rankings.published(key).rounds
        return Progress(len(rounds), newest.step if newest else 0)

    def is_satisfied(self, spec: StageSpec) -> bool:
        """Whether the store holds what the stage is started for; a ranking, as deep as needed."""
        if spec.kind is StageKind.RANKING:
            return len(self._results.order(spec.key)) >= spec.depth
        return self._results.done(spec.key)

    def has_arrived(self, spec: StageSpec) -> bool:
        """Whether the store holds what the stage's own process says that it has left there.

        A result is there once its claim was released, which is exact. Rounds that another node
        wrote may be seen late: they are looked for again, for some seconds.
        """
        self._results.forget(spec.key)
        if spec.kind is StageKind.RANKING:
            for wait_s in LATE_ROUNDS_S:
                if self.is_satisfied(spec):
                    break
                time.sleep(wait_s)
                self._store.rankings.look_afresh(spec.key)
                self._results.forget(spec.key)
        return self.is_satisfied(spec)

    def forget(self, key: str) -> None:
        """Ask the store anew about a stage that has ended."""
        self._results.forget(key)

    def record_failure(self, key: str, failure: Failure) -> None:
        """Record a failure, unless the stage's own process lived to do so.

        A store that is full is passed over: the cells' views still say what happened.
        """
        recorded = self._store.failures.history(key)
        if any((old.when, old.message) == (failure.when, failure.message) for old in recorded):
            return
        with suppress(OSError):
            self._store.failures.record(key, failure)

    def drop_snapshots(self, key: str) -> None:
        """Drop what the stage has trained so far: its next attempt begins anew.

        It does so too where they cannot be dropped: snapshots of another rate are as good as none.
        """
        with suppress(OSError):
            self._store.stages.drop_snapshots(key)

    def drop_transfer_weights(self, spec: StageSpec) -> None:
        """Drop stage two's weights, which have served once the checkpoint of ``spec`` is whole.

        Nothing happens where ``spec`` makes no checkpoint, or one that reads no such weights, nor
        where they cannot be dropped: the next driver tries again.
        """
        if self._keep_transfer_weights:
            return
        if spec.kind is StageKind.PRUNE and spec.reads:
            with suppress(OSError):
                self._drop_files(spec.reads[0])
            self._results.forget(spec.reads[0])

    def _drop_files(self, key: str) -> None:
        """Drop a stage's artifacts, unless somebody works on it."""
        if key in self._tickets or not self._store.stages.has_files(key):
            return
        self._heartbeat.begin()
        taken = self._store.claims.take(key, self._owner)
        if isinstance(taken, Held):
            return
        self._hold(taken)
        try:
            self._store.stages.drop_files(key)
        finally:
            self.release(key)
