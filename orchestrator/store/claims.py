"""Who works on a stage now: of several drivers on one store, one computes it. Knows no results.

A claim is exact on every kind of store: it is an entry of the stage's log
(orchestrator/coordination/stage_log.py). Whether its owner lives is judged by its signs of life
(orchestrator/coordination/drivers.py), and that judgement may be wrong: whoever was taken for dead
has lost the stage, and cannot publish.
"""

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.coordination.drivers import CLAIM_LIFETIME_S, Drivers, SignOfLife
from orchestrator.coordination.process import ProcessIdentity
from orchestrator.coordination.stage_log import (
    ClaimLostError,
    Entry,
    EntryKind,
    StageLog,
    Standing,
    Ticket,
)
from orchestrator.store.files import StoreFiles

__all__ = ["ClaimLostError", "Claims", "Held", "Standing", "Ticket"]

# For so long, what was seen of other drivers is believed.
_RECHECK_LOCAL_S, _RECHECK_REMOTE_S = 0.2, 2.0


@dataclass(frozen=True)
class Held:
    """Another driver, which lives, works on the stage."""

    owner: str
    process: ProcessIdentity

    @property
    def text(self) -> str:
        """The driver for people: ``another driver (process 1234 on node-1)``."""
        return f"another driver ({self.process.text})"


class Claims:
    """The claims of drivers on stages."""

    def __init__(self, files: StoreFiles) -> None:
        lifetime_s = float(os.environ.get("TRSP_CLAIM_LIFETIME_S") or CLAIM_LIFETIME_S)
        recheck_s = _RECHECK_LOCAL_S if files.is_local else _RECHECK_REMOTE_S
        self.drivers = Drivers(files, lifetime_s, recheck_s)
        self.log = StageLog(files)

    def take(self, key: str, owner: str, attempt: str = "") -> Ticket | Held:
        """Take a stage for an attempt of the driver ``owner``, unless another driver holds it.

        ``attempt``: unique among the attempts at the stage; empty for a new name. A claim of the
        same owner is taken over. A result that was committed is in its place before the stage is
        taken.
        """
        attempt = attempt or uuid.uuid4().hex[:8]
        claim = Entry(EntryKind.CLAIM, attempt, owner, ProcessIdentity.here())
        while True:
            number, last = self.log.last(key)
            match last:
                case Entry(kind=EntryKind.CLAIM) if self._is_anothers(last, owner):
                    return Held(last.owner, last.process)
                case Entry(kind=EntryKind.COMMIT):
                    self.log.settle(key, number, last)
            if self.log.append(key, number + 1, claim):
                return Ticket(key, number + 1, attempt)

    def _is_anothers(self, claim: Entry, owner: str) -> bool:
        """Whether another driver made this claim, and lives."""
        return claim.owner != owner and self.drivers.is_alive(claim.owner, claim.process)

    def release(self, ticket: Ticket) -> Standing:
        """Give a stage back; return what had become of the attempt: committed, lost, or neither."""
        return self.log.release(ticket)

    def release_unknown(self, key: str, owner: str) -> None:
        """Give back a claim of this driver of which it has no ticket, if there is one.

        The store took it, and the answer was lost.
        """
        number, last = self.log.last(key)
        if last is not None and last.kind is EntryKind.CLAIM and last.owner == owner:
            self.log.release(Ticket(key, number, last.attempt))

    def held_by_others(self, owner: str = "") -> dict[str, Held]:
        """Return who holds each stage, by the stage's key, but for those that ``owner`` holds.

        By what living drivers said of themselves seconds ago, at the cost of one LIST and one read
        per driver, however many stages they hold. Only ``take`` is exact.
        """
        return _held(self.drivers.living(), owner)

    def held_now(self) -> dict[str, Held]:
        """Return who holds each stage, for one who looks but once.

        Of drivers on other machines it waits some seconds for a sign of life.
        """
        return _held(self.drivers.seen_alive())


def _held(signs: Mapping[str, SignOfLife], but: str = "") -> dict[str, Held]:
    """Return who holds each stage by these signs of life, by key; without the driver ``but``."""
    return {
        key: Held(owner, sign.process)
        for owner, sign in signs.items()
        if owner != but
        for key in sign.keys
    }
