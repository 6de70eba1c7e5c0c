"""The records of failed attempts at stages, in classes that call for different answers. Pure data.

The fields of ``Failure`` and ``RankFailure`` are those of the stored JSON. Texts come from errors
and output of any kind: credentials in them are hidden as a record is made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.redact import redact


class FailureKind(StrEnum):
    """The class of a failure, and so what is to be done about it."""

    OUT_OF_MEMORY = "out_of_memory"  # of an accelerator or of the host: climb the ladder of layouts
    DIVERGED = "diverged"  # no numbers, or a loss that exploded: once more at a lower learning rate
    LOST = "lost"  # a rank, its process or its node is gone: once more, from the last snapshot
    HUNG = "hung"  # no step within the limit: once more, from the last snapshot
    CLAIM_LOST = "claim_lost"  # another driver took the stage over: it counts as nothing
    PREEMPTED = "preempted"  # told to go, and went: once more, from the last snapshot
    NODE_LOST = "node_lost"  # its node is gone, as spot nodes go: once more, from the last snapshot
    UNREACHABLE = "unreachable"  # a hub, store or file system gave no answer: again after a while
    TIMEOUT = "timeout"  # it took longer than resources.timeout_s
    DISK_FULL = "disk_full"  # no room on a disk, or none within a quota or a limit
    BAD_INPUT = "bad_input"  # final: no other attempt would end otherwise
    UNKNOWN = "unknown"  # a bug, ours or another's

    @property
    def words(self) -> str:
        """The class for people: ``out of memory``."""
        return self.value.replace("_", " ")


@dataclass(frozen=True)
class Node:
    """A node of a cluster; both fields are empty where it is not known."""

    id: str = ""  # as the cluster's scheduler knows it
    address: str = ""  # for people: 10.0.0.4

    def __bool__(self) -> bool:
        return bool(self.id)


NOWHERE = Node()


@dataclass(frozen=True)
class RankFailure:
    """How one rank of a gang failed, or several that failed alike."""

    ranks: tuple[int, ...]  # their numbers in the gang, 0-based
    error: str  # the name of the error's class
    message: str
    tail: str = ""  # the end of the first rank's output
    kind: FailureKind = FailureKind.UNKNOWN
    node: Node = NOWHERE  # where the first of them ran

    def __post_init__(self) -> None:
        _hide_secrets(self, "message", "tail")

    @property
    def who(self) -> str:
        """The ranks in words: ``rank 1``, ``ranks 0, 2-7``."""
        noun = "ranks" if len(self.ranks) > 1 else "rank"
        return f"{noun} {_number_runs(sorted(self.ranks))}"


@dataclass(frozen=True)
class Failure:
    """One failed attempt at a stage."""

    error: str  # the name of the error's class
    message: str
    kind: FailureKind = FailureKind.UNKNOWN
    details: str = ""  # the end of the traceback
    when: float = 0.0  # seconds since the epoch
    ranks: tuple[RankFailure, ...] = ()  # how each rank of a gang failed, the cause first
    layout: Mapping[str, Any] = field(default_factory=dict)  # the layout it ran on, as JSON
    node: Node = NOWHERE  # where it ran; of a gang, the first rank of the cause

    def __post_init__(self) -> None:
        _hide_secrets(self, "message", "details")

    @property
    def line(self) -> str:
        """One line: the first of the message, and of a gang the ranks it is from.

        ``OutOfMemoryError: 12 GB wanted (rank 1)``
        """
        first = (self.message.strip() or self.error).splitlines()[0]
        ranks = f" ({self.ranks[0].who})" if self.ranks else ""
        return f"{self.error}: {first}{ranks}"

    @property
    def text(self) -> str:
        """The failure for people: class, layout, each group of ranks with the end of its output.

        The ``details`` are left out.
        """
        parts = [f"{self.kind.words}: {self.line}"]
        if self.layout:
            layout = ", ".join(f"{name}={value}" for name, value in self.layout.items())
            parts.append(f"layout: {layout}")
        if self.node:
            parts.append(f"node: {self.node.address}")
        for group in self.ranks:
            text = f"--- {group.who}: {group.error}: {group.message}\n{group.tail}"
            parts.append(text.rstrip())
        return "\n".join(parts) + "\n"


def _hide_secrets(failure: Failure | RankFailure, *names: str) -> None:
    """Redact these texts of a failure that is being made: no failure ever holds a secret."""
    for name in names:
        object.__setattr__(failure, name, redact(getattr(failure, name)))


def _number_runs(numbers: Sequence[int]) -> str:
    """Ascending numbers in short: ``0, 2-7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
