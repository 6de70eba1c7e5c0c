"""What went wrong with a stage, in classes that call for different answers. Pure: knows errors by their names only.

Errors come from other processes and from libraries that are not loaded here, so a class is known by its name and words.
"""

import errno
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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

    @property
    def words(self) -> str:
        """For people: ``out of memory``."""
        return self.value.replace("_", " ")


# Where the ranks of a gang failed in different ways, the first of these is the cause and the others followed from it: a
# rank that ran out of memory leaves its peers with a broken connection, one with a bug leaves them waiting.
CAUSES: Sequence[FailureKind] = (
    FailureKind.OUT_OF_MEMORY,
    FailureKind.DIVERGED,
    FailureKind.DISK_FULL,
    FailureKind.BAD_INPUT,
    FailureKind.UNKNOWN,
    FailureKind.PREEMPTED,
    FailureKind.TIMEOUT,
    FailureKind.HUNG,
    FailureKind.LOST,
)


@dataclass(frozen=True)
class RankFailure:
    """What the ranks of a gang that failed alike had to say. ``tail``: the end of the first one's output."""

    ranks: tuple[int, ...]
    error: str
    message: str
    tail: str = ""
    kind: FailureKind = FailureKind.UNKNOWN

    @property
    def who(self) -> str:
        """``rank 1``, ``ranks 0, 2-7``."""
        return f"rank{'s' if len(self.ranks) > 1 else ''} {_runs(sorted(self.ranks))}"


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

    @property
    def line(self) -> str:
        """``OutOfMemoryError: 12 GB wanted (rank 1)``: the first line of the message, and who said it in a gang."""
        first = (self.message.strip() or self.error).splitlines()[0]
        return f"{self.error}: {first}{f' ({self.ranks[0].who})' if self.ranks else ''}"

    @property
    def text(self) -> str:
        """For people, without ``details``: class, layout, then each group of ranks with the end of its output."""
        layout = ", ".join(f"{name}={value}" for name, value in self.layout.items())
        parts = [f"{self.kind.words}: {self.line}", *([f"layout: {layout}"] if layout else [])]
        parts += [
            f"--- {said.who}: {said.error}: {said.message}\n{said.tail}".rstrip()
            for said in self.ranks
        ]
        return "\n".join(parts) + "\n"


# --- from an error to its class ------------------------------------------------------------------------------------------

_BY_NAME: Mapping[str, FailureKind] = {
    "OutOfMemoryError": FailureKind.OUT_OF_MEMORY,  # torch's, and Ray's memory monitor's
    "MemoryError": FailureKind.OUT_OF_MEMORY,
    "TrainingDivergedError": FailureKind.DIVERGED,
    "PreemptedError": FailureKind.PREEMPTED,
    "HungError": FailureKind.HUNG,
    "DistNetworkError": FailureKind.LOST,
    "ConnectionError": FailureKind.LOST,
    "TrspError": FailureKind.BAD_INPUT,
    "ValueError": FailureKind.BAD_INPUT,
    "TypeError": FailureKind.BAD_INPUT,
} | dict.fromkeys(
    (
        *(
            "WorkerCrashedError",
            "NodeDiedError",
            "ActorDiedError",
            "RayActorError",
            "ActorUnavailableError",
            "ObjectLostError",
        ),
        *("OwnerDiedError", "LocalRayletDiedError", "RaySystemError", "TaskCancelledError"),
    ),
    FailureKind.LOST,
)
_BY_ERRNO: Mapping[int | None, FailureKind] = {
    errno.ENOMEM: FailureKind.OUT_OF_MEMORY,
    errno.ENOSPC: FailureKind.DISK_FULL,
    errno.EDQUOT: FailureKind.DISK_FULL,
    errno.EFBIG: FailureKind.DISK_FULL,  # larger than the file system or a limit allows
}
# What libraries say in errors of no particular class. ``BROKEN`` only ever follows from what happened to another rank.
_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|not enough memory|std::bad_alloc"
    r"|CUBLAS_STATUS_ALLOC_FAILED|Failed to CUDA calloc",
    re.IGNORECASE,
)
_DISK = re.compile(
    r"no space left on device|disk quota exceeded|file too large|os error (28|122|27)\b",
    re.IGNORECASE,
)
_HUNG = re.compile(
    r"timed out waiting|collective operation timeout|wait timeout|socket timeout", re.IGNORECASE
)
_BROKEN = re.compile(
    r"connection (closed|reset|refused|was likely closed)|broken pipe|peer (closed|is dead)|remote process exited|NCCL.*aborted"
    r"|unhandled system error|gloo/transport",
    re.IGNORECASE,
)
_WORDS = (
    (_MEMORY, FailureKind.OUT_OF_MEMORY),
    (_DISK, FailureKind.DISK_FULL),
    (_HUNG, FailureKind.HUNG),
    (_BROKEN, FailureKind.LOST),
)
# Found anywhere in the chain of causes, these outweigh the error that was made of them.
_DEEP = (FailureKind.OUT_OF_MEMORY, FailureKind.DIVERGED, FailureKind.DISK_FULL)


def classify(error: BaseException) -> FailureKind:
    """The class of an error, by what it is, what it says and what it came from."""
    kinds = [_kind_of_one(each) for each in _chain(error)]
    return next((kind for kind in kinds if kind in _DEEP), kinds[0])


def _kind_of_one(error: BaseException) -> FailureKind:
    if isinstance(error, OSError) and error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    names = [kind.__name__ for kind in type(error).__mro__]
    return kind_from(names, str(error))


def kind_from(names: str | Sequence[str], message: str) -> FailureKind:
    """The same of an error that is known by words only: its class's name, or those of its bases too, and its message.

    Words outweigh the general names only: a RuntimeError may be anything, and so may a TypeError that a library made of it.
    """
    named = [
        _BY_NAME[name]
        for name in ([names] if isinstance(names, str) else names)
        if name in _BY_NAME
    ]
    if named and named[0] not in (FailureKind.BAD_INPUT, FailureKind.LOST):
        return named[0]
    spoken = next((kind for pattern, kind in _WORDS if pattern.search(message)), None)
    if spoken in _DEEP or not named:
        return spoken or FailureKind.UNKNOWN
    return named[0]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those it was made of or came up under, nearest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # type: ignore[assignment]


def failure_of(
    error: BaseException, details: str = "", layout: Mapping[str, Any] | None = None
) -> Failure:
    """The record of an error, now."""
    name = type(error).__name__
    return Failure(
        name, str(error).strip() or name, classify(error), details, time.time(), layout=layout or {}
    )


# --- from the ranks of a gang to one failure -----------------------------------------------------------------------------


def failure_of_ranks(
    said: Iterable[RankFailure],
    details: str = "",
    layout: Mapping[str, Any] | None = None,
    when: float | None = None,
) -> Failure:
    """One failure of what several ranks said: the primary cause first, those who said the same together.

    Needs at least one rank. Equal but for numbers is the same: ranks, addresses and sizes differ from one to the next.
    """
    groups: dict[tuple[str, str, FailureKind], RankFailure] = {}
    for one in sorted(said, key=lambda one: one.ranks):
        alike = (one.error, re.sub(r"0x[0-9a-f]+|\d+", "#", one.message), one.kind)
        before = groups.get(alike)
        groups[alike] = one if before is None else replace(before, ranks=before.ranks + one.ranks)
    ordered = tuple(sorted(groups.values(), key=_as_cause))
    first = ordered[0]
    now = time.time() if when is None else when
    return Failure(
        first.error, first.message, first.kind, details or first.tail, now, ordered, layout or {}
    )


def _as_cause(said: RankFailure) -> tuple[int, bool, tuple[int, ...]]:
    return CAUSES.index(said.kind), bool(_BROKEN.search(said.message)), said.ranks


def _runs(numbers: Sequence[int]) -> str:
    """``0, 2-7``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
