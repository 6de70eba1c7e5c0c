"""What one driver does in the store about the stages of its grid: claims, failures, cleaning up.

All of the controller's calls of the store are here. It knows neither the launcher nor what follows
from a failure.
"""

import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.parallel import at_once
from orchestrator.scheduler.state import Progress
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.claims import Claim
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure
from orchestrator.store.results import StoreResults
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store

CLAIMS_AT_ONCE = 32


@dataclass(frozen=True)
class Claimed:
    """The stage is this driver's to start."""

    progress: Progress  # what earlier attempts have left


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

    def claim(self, spec: StageSpec) -> ClaimOutcome:
        """Claim a stage for this driver, and clear away what a dead attempt left half-written.

        The claim is held only where the outcome is ``Claimed``.
        """
        try:
            other = self._store.claims.take(spec.key, self._owner)
        except OSError as error:
            return ClaimFailed(failure_of(error))
        if other is not None:
            return ClaimedElsewhere(_named(other))
        try:
            return self._prepare(spec)
        except OSError as error:
            with suppress(OSError):  # where even this fails, the claim ends with this driver
                self._store.claims.release(spec.key)
            return ClaimFailed(failure_of(error))

    def claim_all(self, specs: Sequence[StageSpec], over: Callable[[], bool]) -> list[ClaimOutcome]:
        """Claim stages, several at a time; return what came of the first of them, in order.

        The others are left alone: where one of these turned out to be another driver's, or done,
        or where the time is ``over``.
        """
        outcomes: list[ClaimOutcome] = []
        while len(outcomes) < len(specs):
            some = specs[len(outcomes) : len(outcomes) + CLAIMS_AT_ONCE]
            came = at_once(self.claim, some)
            outcomes += came
            if over() or any(
                isinstance(each, ClaimedElsewhere | AlreadySatisfied) for each in came
            ):
                break
        return outcomes

    def held_elsewhere(self) -> dict[str, str]:
        """Return who works on the stages that other living drivers hold, by the stage's key."""
        held = self._store.claims.held_by_others(self._owner)
        return {key: _named(claim) for key, claim in held.items()}

    def _prepare(self, spec: StageSpec) -> Claimed | AlreadySatisfied:
        """Make a stage that was just claimed ready to start, or release it where it need not."""
        # Another driver may have finished it between our look and our claim.
        self._results.forget(spec.key)
        if self.is_satisfied(spec):
            self._store.claims.release(spec.key)
            return AlreadySatisfied()
        self._store.stages.remove_orphans(spec.key)
        return Claimed(self.progress(spec.key))

    def renew(self, keys: Iterable[str]) -> None:
        """Renew this driver's claims on these stages, as far as the store can be written.

        A claim that is not renewed may be taken: the stage is then computed twice, to one result.
        """
        for key in keys:
            with suppress(OSError):
                self._store.claims.renew(key, self._owner)

    def release(self, key: str) -> None:
        """Give this driver's claim back. One that stays ends with this driver."""
        with suppress(OSError):
            self._store.claims.release(key)

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

    def look_anew(self, spec: StageSpec) -> bool:
        """Look again at a stage that has ended; return whether it is satisfied."""
        self._results.forget(spec.key)
        return self.is_satisfied(spec)

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
        if spec.kind is StageKind.PRUNE and spec.reads and self._results.done(spec.reads[0]):
            with suppress(OSError):
                self._store.stages.drop_files(spec.reads[0])
            self._results.forget(spec.reads[0])


def _named(claim: Claim) -> str:
    return f"another driver (process {claim.pid} on {claim.host})"
