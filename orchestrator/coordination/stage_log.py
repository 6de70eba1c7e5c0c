"""The log of one stage: who claimed it, gave it back, and committed its result, in this order.

Each entry is a file with the next number, created exclusively and never changed, and the highest
number says how the stage stands. So whoever creates the entry after its own claim still owned the
stage at that moment, and whoever finds it taken has lost it, however long it was away.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any

from orchestrator.coordination.drivers import Files
from orchestrator.coordination.log_entries import (
    Entry,
    EntryKind,
    Prepared,
    Ticket,
    entry_data,
    is_open,
    read_entry,
)

__all__ = [
    "ClaimLostError",
    "Entry",
    "EntryKind",
    "Prepared",
    "StageLog",
    "Standing",
    "Ticket",
    "stage_folder",
]

# Before an entry that must be there is read again: NFS may show it late.
_LOOK_AGAIN_S = (0.05, 0.2, 1.0, 3.0)


class ClaimLostError(Exception):
    """Another driver has taken over the stage that this attempt computes.

    Nothing that the attempt publishes counts any more, and nothing is wrong with the stage.
    """

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} was taken over by another driver: this attempt publishes nothing")


CLAIMS_FOLDER = "claims"  # in the folder of a stage


class Standing(StrEnum):
    """How an attempt stands to its stage."""

    HELD = "held"  # the stage is still its own
    RELEASED = "released"  # it gave the stage back without a result
    COMMITTED = "committed"  # its result is in the store
    LOST = "lost"  # another attempt has taken the stage over


def stage_folder(key: str) -> str:
    """The folder of a stage below the root: ``stages/KIND/KEY``; keys are ``KIND-HASH``."""
    return f"stages/{key.rpartition('-')[0]}/{key}"


class StageLog:
    """The logs of all stages of a store, and the ``result.json`` that follows from a commit."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def last(self, key: str) -> tuple[int, Entry | None]:
        """The number of the highest entry and the entry itself; 0 and None where there is none."""
        numbers = [_number(name) for name in self._files.names(_folder(key))]
        highest = max(numbers, default=0)
        return highest, self._present(key, highest) if highest else None

    def append(self, key: str, number: int, entry: Entry) -> bool:
        """Create the entry with this number. Returns whether it is this one that stands there.

        That is also so where an earlier call created it and its answer was lost on the way.
        """
        path, data = _path(key, number), entry_data(entry)
        return self._files.create(path, data) or self._files.read(path) == data

    def standing(self, ticket: Ticket) -> Standing:
        """How an attempt stands to its stage: one read."""
        if self._files.read(_path(ticket.key, ticket.number + 1)) is None:
            return Standing.HELD
        return self._after(ticket)

    def require(self, ticket: Ticket) -> None:
        """Raise ClaimLostError unless the stage is still the attempt's own: one read."""
        if self._files.read(_path(ticket.key, ticket.number + 1)) is not None:
            raise ClaimLostError(ticket.key)

    def commit(
        self, ticket: Ticket, result: Mapping[str, Any], follower: Prepared | None = None
    ) -> None:
        """Commit a stage's result. ClaimLostError: the stage is no longer the attempt's own.

        The ``follower``, a result that was made of this stage's artifacts, is committed by the same
        entry: there is no moment at which one of them is and the other is not. Claim this stage
        before the follower, so that nobody gets in between.
        """
        number = ticket.number + 1
        entry = Entry(EntryKind.COMMIT, ticket.attempt, result=dict(result), follower=follower)
        if not self.append(ticket.key, number, entry):
            raise ClaimLostError(ticket.key)
        self.settle(ticket.key, number, entry)

    def release(self, ticket: Ticket) -> Standing:
        """Give a stage back; return how the attempt stood to it, which nothing can change now.

        After a commit, this also says that its ``result.json`` stands for itself from now on.
        """
        key, number = ticket.key, ticket.number + 1
        release = Entry(EntryKind.RELEASE, ticket.attempt)
        if self.append(key, number, release):
            return Standing.RELEASED
        standing = self._after(ticket)
        if standing is Standing.COMMITTED:
            self.settle(key, number, self._present(key, number))
            self.append(key, number + 1, release)
        return standing

    def settle(self, key: str, number: int, commit: Entry) -> None:
        """Write the ``result.json`` of a commit, unless it or a later one is there.

        Whoever comes upon a commit does so, before it adds an entry of its own: the committer may
        have died before it did. One that was only slow finds that entry, or the file, and leaves
        alone what others have made of the result meanwhile.
        """
        path = f"{stage_folder(key)}/result.json"
        standing = self._files.read(path)
        is_there = _claim_of(standing) >= number
        if is_there and commit.follower is None:
            return
        if self._files.read(_path(key, number + 1)) is not None:
            return
        if not is_there:
            self._write_result(path, standing, {**(commit.result or {}), "claim": number})
        if commit.follower is not None:
            self._settle_follower(key, commit.follower)

    def _write_result(self, path: str, standing: bytes | None, result: Mapping[str, Any]) -> None:
        """Write ``result.json``, in whose place an earlier one may be ``standing``."""
        data = json.dumps(result, indent=1, allow_nan=False).encode()
        if standing is not None:
            self._files.write(path, data)
        elif not self._files.create(path, data) and _claim_of(self._files.read(path)) < 0:
            self._files.write(path, data)  # torn, where files cannot be made whole

    def _settle_follower(self, key: str, follower: Prepared) -> None:
        """Commit the follower of a stage in the follower's own log, unless that is done.

        Its ``result.json`` comes last of all: before it the stage is still needed, so that whoever
        goes on comes to the stage's commit. By then the stage's snapshots are gone.
        """
        with suppress(OSError):  # what cannot be removed is no failure
            self._files.remove_folder(f"{stage_folder(key)}/snapshots")
        ticket = follower.ticket
        number, last = self.last(ticket.key)
        commit = Entry(EntryKind.COMMIT, ticket.attempt, result=dict(follower.result))
        while is_open(number, last, ticket):  # it may be given back at this moment
            if self.append(ticket.key, number + 1, commit):
                self.settle(ticket.key, number + 1, commit)
                return
            number, last = self.last(ticket.key)
        if last is not None and last.kind is EntryKind.COMMIT:
            self.settle(ticket.key, number, last)

    def _after(self, ticket: Ticket) -> Standing:
        """How an attempt stands whose claim is followed by another entry."""
        entry = self._present(ticket.key, ticket.number + 1)
        if entry.belongs_to(ticket, EntryKind.COMMIT):
            return Standing.COMMITTED
        if entry.belongs_to(ticket, EntryKind.RELEASE):
            return Standing.RELEASED
        return Standing.LOST

    def _present(self, key: str, number: int) -> Entry:
        """An entry that is known to be there; as good as a release where it cannot be read."""
        data = self._files.read(_path(key, number))
        for wait_s in _LOOK_AGAIN_S:
            if data is not None:
                break
            time.sleep(wait_s)
            self._files.names(_folder(key))  # makes NFS look again
            data = self._files.read(_path(key, number))
        return read_entry(data)


def _claim_of(result: bytes | None) -> int:
    """The number of the commit that a ``result.json`` comes from; 0 where it is older, or torn."""
    try:
        stored = json.loads(result or b"")
    except ValueError:
        return -1
    number = stored.get("claim", 0) if isinstance(stored, dict) else 0
    return number if isinstance(number, int) else 0


def _folder(key: str) -> str:
    return f"{stage_folder(key)}/{CLAIMS_FOLDER}"


def _path(key: str, number: int) -> str:
    return f"{_folder(key)}/{number:06d}.json"


def _number(name: str) -> int:
    """The number of an entry by its file's name; 0 for any other file."""
    stem = name.removesuffix(".json")
    return int(stem) if stem.isdigit() else 0
