"""What one driver does in the store about the stages of its grid: claims, failures, cleaning up.

All of the controller's calls of the store are here. It knows neither the launcher nor what follows
from a failure.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.coordination.stage_log import CLAIMS_FOLDER
from orchestrator.parallel import at_once
from orchestrator.scheduler.attempt import Progress
from orchestrator.scheduler.holdings import Holdings, drop_unheld_files
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.claims import Held, Ticket
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.logs.stage_logs import remove_old_logs
from orchestrator.store.patience import passes
from orchestrator.store.results import StoreResults
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store

CLAIMS_AT_ONCE = 32
# How long to look for the rounds that a ranking says it has published: NFS may show them late.
LATE_ROUNDS_S = (0.0, 0.5, 2.0, 5.0)


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
    """The store will not be read or written; nobody holds the stage because of us."""

    failure: Failure


@dataclass(frozen=True)
class StoreAway:
    """The store gave no answer; that is not the stage's failure."""

    error: OSError


ClaimOutcome = Claimed | ClaimedElsewhere | AlreadySatisfied | ClaimFailed | StoreAway


class StageStore:
    """The stages of one grid in the store, as one driver reads and writes them.

    ``holdings`` are those that it has claimed.
    """

    def __init__(
        self,
        store: Store,
        results: StoreResults,
        *,
        keep_transfer_weights: bool,
        readers: Callable[[str], Collection[str]] = lambda key: (),
        grid: str = "",
    ) -> None:
        """``keep_transfer_weights``: of stage two, where they are. ``grid``: its key.
        ``readers``: gives the keys of the grid's stages that read the artifacts of a stage."""
        self._readers = readers
        self.uri = store.uri
        self._keep_transfer_weights = keep_transfer_weights
        self._store = store
        self._results = results
        self.holdings = Holdings(store.claims, grid)

    def claim(self, spec: StageSpec) -> ClaimOutcome:
        """Claim a stage for this driver, and clear away what a dead attempt left half-written.

        The claim is held only where the outcome is ``Claimed``.
        """
        try:
            taken = self.holdings.take(spec.key)
        except OSError as error:
            return _claim_failed(error)
        if isinstance(taken, Held):
            return ClaimedElsewhere(taken.text)
        try:
            return self._prepare(spec, taken)
        except OSError as error:
            self.holdings.release(spec.key)
            return _claim_failed(error)

    def claim_all(
        self, chains: Sequence[Sequence[StageSpec]], over: Callable[[], bool]
    ) -> list[list[ClaimOutcome]]:
        """Claim stages, several at a time, each with those that are to follow it in its process.

        Return what came of the first of these chains, in order. The others are left alone: where
        the first stage of one was another driver's, or done, or the store away, or time ``over``.
        """
        outcomes: list[list[ClaimOutcome]] = []
        while len(outcomes) < len(chains):
            some = chains[len(outcomes) : len(outcomes) + CLAIMS_AT_ONCE]
            came = at_once(self._claim_chain, some)
            outcomes += came
            if over() or any(_is_news(*chain) for chain in came):
                break
        return outcomes

    def _claim_chain(self, specs: Sequence[StageSpec]) -> list[ClaimOutcome]:
        """Claim stages one by one, up to the first not to be had; return what came of each."""
        outcomes: list[ClaimOutcome] = []
        for spec in specs:
            outcomes.append(self.claim(spec))
            if not isinstance(outcomes[-1], Claimed):
                break
        return outcomes

    def _prepare(self, spec: StageSpec, ticket: Ticket) -> Claimed | AlreadySatisfied:
        """Make a stage that was just claimed ready to start, or release it where it need not."""
        if ticket.number == 1 and not self._store.stages.contents(spec.key) - {CLAIMS_FOLDER}:
            return Claimed(Progress(0, 0), ticket)  # nobody has ever worked on it
        if ticket.number > 1:
            self._store.stages.look_afresh(spec.key)
        # Another driver may have finished it between our look and our claim.
        self._results.forget(spec.key)
        if self.is_satisfied(spec) or self._has_served(spec):
            self.holdings.release(spec.key)
            return AlreadySatisfied()
        self._store.stages.remove_orphans(spec.key)
        remove_old_logs(self._store, spec.key)
        return Claimed(self.progress(spec.key), ticket)

    def _has_served(self, spec: StageSpec) -> bool:
        """Whether others have done stage two, what reads it, and dropped it, since we looked."""
        if spec.kind is not StageKind.TRANSFER or self._results.record(spec.key) is None:
            return False
        readers = self._readers(spec.key)
        for key in readers:
            self._results.forget(key)
        return bool(readers) and all(self._results.done(key) for key in readers)

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

    def missing_result(self, spec: StageSpec) -> Failure | None:
        """Return the failure of a stage that ended well but left no result; None where it did.

        A result is there once its claim was released, which is exact. Rounds that another node
        wrote may be seen late: they are looked for again, for some seconds.
        """
        self._results.forget(spec.key)
        if spec.kind is StageKind.RANKING:
            for wait_s in LATE_ROUNDS_S:
                if self.is_satisfied(spec):
                    break
                time.sleep(wait_s)
                self._store.stages.look_afresh(spec.key)
                self._results.forget(spec.key)
        if self.is_satisfied(spec) or self._has_served(spec):
            return None
        message = "the stage ended without an error, but its result is not in the store"
        return Failure("LostResult", message, FailureKind.LOST, when=time.time())

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
        where the store refuses: the next driver tries again. Raises OSError where it gives no
        answer.
        """
        if self._keep_transfer_weights or spec.kind is not StageKind.PRUNE or not spec.reads:
            return
        weights = spec.reads[0]
        if self._results.checkpoint_uri(weights) is None:
            return
        try:
            drop_unheld_files(self._store.stages, self.holdings, weights)
        except OSError as error:
            if passes(error):
                raise
        finally:
            self._results.forget(weights)


def _claim_failed(error: OSError) -> ClaimFailed | StoreAway:
    """Return the outcome of a claim that the store refuses, or gives no answer to."""
    return StoreAway(error) if passes(error) else ClaimFailed(failure_of(error))


def _is_news(first: ClaimOutcome, *others: ClaimOutcome) -> bool:
    """Whether what came of a chain's claims makes those of others doubtful."""
    away = any(isinstance(each, StoreAway) for each in (first, *others))
    return away or isinstance(first, ClaimedElsewhere | AlreadySatisfied)


def raise_if_away(outcomes: Iterable[ClaimOutcome]) -> None:
    """Raise the error of the first claim that the store gave no answer to, if there is one."""
    for outcome in outcomes:
        if isinstance(outcome, StoreAway):
            raise outcome.error
