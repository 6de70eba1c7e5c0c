"""The entries of a stage's log, as data. Knows no files.

How they make a log: orchestrator/coordination/stage_log.py.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.coordination.process import ProcessIdentity


@dataclass(frozen=True)
class Ticket:
    """What an attempt at a stage publishes by: the claim that it was started under."""

    key: str  # of the stage
    number: int  # of the claim in the stage's log; 0 for a stage that nobody ever claimed
    attempt: str  # unique among the attempts at the stage


@dataclass(frozen=True)
class Prepared:
    """A result of which all is in the store but the commit itself."""

    ticket: Ticket
    result: Mapping[str, Any]


class EntryKind(StrEnum):
    """What an entry of a stage's log says."""

    CLAIM = "claim"  # an attempt owns the stage
    RELEASE = "release"  # nobody does
    COMMIT = "commit"  # nobody does, and this is what belongs in result.json


@dataclass(frozen=True)
class Entry:
    """One entry of a stage's log."""

    kind: EntryKind
    attempt: str
    owner: str = ""  # of a claim, the driver
    process: ProcessIdentity = field(default_factory=lambda: ProcessIdentity(0))  # of a claim
    result: Mapping[str, Any] | None = None  # of a commit
    follower: Prepared | None = None  # of a commit, that of another stage which follows from it

    def belongs_to(self, ticket: Ticket, kind: EntryKind) -> bool:
        """Whether it is the attempt's own entry of this kind."""
        return self.kind is kind and self.attempt == ticket.attempt


_ENTRY = TypeAdapter(Entry)
# What cannot be read is nobody's: a crash left it, where files cannot be made whole.
_UNREADABLE = Entry(EntryKind.RELEASE, attempt="")


def read_entry(data: bytes | None) -> Entry:
    """The entry in a file; as good as a release where it cannot be read."""
    try:
        return _ENTRY.validate_json(data or b"")
    except ValidationError:
        return _UNREADABLE


def entry_data(entry: Entry) -> bytes:
    """What stands in the file of an entry."""
    fields = asdict(entry)
    if entry.follower is None:
        del fields["follower"]
    return json.dumps(fields, allow_nan=False).encode()


def is_open(number: int, last: Entry | None, ticket: Ticket) -> bool:
    """Whether the attempt may still commit where ``last``, of this number, is a log's last entry.

    That is also so where it gave the stage back and nobody has taken it since.
    """
    if last is None:
        return ticket.number == 0  # else the stage was removed from the store
    claimed = last.belongs_to(ticket, EntryKind.CLAIM) and number == ticket.number
    released = last.belongs_to(ticket, EntryKind.RELEASE) and number == ticket.number + 1
    return claimed or released
