"""What went wrong with a stage, in classes that call for different answers. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FailureKind(StrEnum):
    OUT_OF_MEMORY = "out_of_memory"  # of an accelerator or of the host: climb the ladder of layouts
    DIVERGED = "diverged"  # NaN or infinite: once more at a lower rate
    LOST = "lost"  # a rank, its process or its node is gone: once more, from the last snapshot
    HUNG = "hung"  # no step within the limit: likewise
    PREEMPTED = "preempted"  # told to go, and went: likewise
    TIMEOUT = "timeout"  # longer than resources.timeout_s
    DISK_FULL = "disk_full"
    BAD_INPUT = "bad_input"  # final: no other attempt would end otherwise
    UNKNOWN = "unknown"  # a bug, ours or another's


@dataclass(frozen=True)
class RankFailure:
    """What the ranks of a gang that failed alike had to say. ``tail``: the end of the first one's output."""

    ranks: tuple[int, ...]
    error: str
    message: str
    tail: str = ""


@dataclass(frozen=True)
class Failure:
    """One failed attempt: its class, one line for people, the end of the traceback, and what each rank said."""

    error: str
    message: str
    kind: FailureKind = FailureKind.UNKNOWN
    details: str = ""
    when: float = 0.0
    ranks: tuple[RankFailure, ...] = ()
    layout: Mapping[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """No other attempt of the same kind would end otherwise."""
        return self.kind is FailureKind.BAD_INPUT
