"""What went wrong with a stage: the class of an error, the cause among the errors of many ranks.

Pure: errors come from other processes and from libraries that are not loaded here, so an error's
class is known by names and words.
"""

import errno
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.store.failures import NOWHERE, Failure, FailureKind, Node, RankFailure
from trsp.outages import is_outage

# Where the ranks of a gang failed in different ways, the first of these is the cause and the others
# followed from it: a rank that ran out of memory leaves its peers with a broken connection, one
# with a bug leaves them waiting.
CAUSES: Sequence[FailureKind] = (
    FailureKind.CLAIM_LOST,
    FailureKind.OUT_OF_MEMORY,
    FailureKind.DIVERGED,
    FailureKind.DISK_FULL,
    FailureKind.BAD_INPUT,
    FailureKind.UNKNOWN,
    FailureKind.UNREACHABLE,
    FailureKind.PREEMPTED,
    FailureKind.NODE_LOST,
    FailureKind.TIMEOUT,
    FailureKind.HUNG,
    FailureKind.LOST,
)

_NAMES: Mapping[FailureKind, Sequence[str]] = {
    FailureKind.OUT_OF_MEMORY: (
        "OutOfMemoryError",  # torch's, and that of Ray's memory monitor
        "MemoryError",
    ),
    FailureKind.DIVERGED: ("TrainingDivergedError",),
    FailureKind.CLAIM_LOST: ("ClaimLostError",),
    FailureKind.PREEMPTED: ("PreemptedError",),
    FailureKind.HUNG: ("HungError",),
    FailureKind.LOST: (
        "ProcessDiedError",  # that of a stage, beside Ray's
        "DistNetworkError",  # torch's
        "ConnectionError",
        "WorkerCrashedError",  # this one and the others are Ray's
        "ActorDiedError",
        "RayActorError",
        "ActorUnavailableError",
        "ObjectLostError",
        "OwnerDiedError",
        "LocalRayletDiedError",
        "RaySystemError",
        "TaskCancelledError",
    ),
    FailureKind.BAD_INPUT: ("TrspError", "ValueError", "TypeError"),
    FailureKind.NODE_LOST: ("NodeDiedError",),  # Ray's
    FailureKind.UNREACHABLE: ("UnreachableError",),
    # What may be gone at the next attempt, though it is an error for people.
    FailureKind.UNKNOWN: ("WrongDeviceError",),
}
_BY_NAME: Mapping[str, FailureKind] = {
    name: kind for kind, names in _NAMES.items() for name in names
}
_BY_ERRNO: Mapping[int | None, FailureKind] = {
    errno.ENOMEM: FailureKind.OUT_OF_MEMORY,
    errno.ENOSPC: FailureKind.DISK_FULL,
    errno.EDQUOT: FailureKind.DISK_FULL,
    errno.EFBIG: FailureKind.DISK_FULL,  # larger than the file system or a limit allows
}
# What libraries say in errors of no particular class. ``_BROKEN`` only ever follows from what
# happened to another rank.
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
    r"connection (closed|reset|refused|was likely closed)|broken pipe|peer (closed|is dead)"
    r"|remote process exited|NCCL.*aborted|unhandled system error|gloo/transport",
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
# What an error is taken for that a library made of an outage.
_VAGUE = (FailureKind.UNKNOWN, FailureKind.BAD_INPUT, FailureKind.LOST)


def classify(error: BaseException) -> FailureKind:
    """The class of an error, by what it is, what it says and what it came from."""
    kinds = [_classify_alone(each) for each in _chain(error)]
    deep = next((kind for kind in kinds if kind in _DEEP), kinds[0])
    return FailureKind.UNREACHABLE if deep in _VAGUE and is_outage(error) else deep


def _classify_alone(error: BaseException) -> FailureKind:
    """The class of an error, whatever it came from."""
    if isinstance(error, OSError) and error.errno in _BY_ERRNO:
        return _BY_ERRNO[error.errno]
    names = [base.__name__ for base in type(error).__mro__]
    return classify_words(names, str(error))


def classify_words(names: str | Sequence[str], message: str) -> FailureKind:
    """The class of an error that is known by words only.

    ``names``: the name of the error's class, or this and those of its bases, nearest first. The
    words of the message outweigh the general names only: a RuntimeError may be anything, and so may
    a TypeError that a library made of it, or the reason why a store gave no answer.
    """
    if isinstance(names, str):
        names = [names]
    named = next((_BY_NAME[name] for name in names if name in _BY_NAME), None)
    general = (*_VAGUE, FailureKind.UNREACHABLE)
    if named is not None and named not in general:
        return named
    worded = next((kind for pattern, kind in _WORDS if pattern.search(message)), None)
    if worded in _DEEP:
        return worded
    return named or worded or FailureKind.UNKNOWN


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those it was made of or came up under, nearest first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        if current.__cause__ is not None or current.__suppress_context__:
            current = current.__cause__
        else:
            current = current.__context__


def failure_of(
    error: BaseException,
    details: str = "",
    layout: Mapping[str, Any] | None = None,
    node: Node = NOWHERE,
) -> Failure:
    """The record of an error, as of now. ``details``: the end of its traceback."""
    name = type(error).__name__
    message = str(error).strip() or name
    return Failure(
        name, message, classify(error), details, time.time(), layout=layout or {}, node=node
    )


def failure_of_ranks(
    failures: Iterable[RankFailure],
    details: str = "",
    layout: Mapping[str, Any] | None = None,
    when: float | None = None,
) -> Failure:
    """One failure out of those of several ranks, at least one.

    It is that of the ranks that are the primary cause; ``ranks`` has them first, then the others.
    ``details``: by default the end of their output. ``when``: in seconds since the epoch, by
    default now.
    """
    ordered = tuple(sorted(_grouped(failures), key=_as_cause))
    cause = ordered[0]
    return Failure(
        cause.error,
        cause.message,
        cause.kind,
        details or cause.tail,
        time.time() if when is None else when,
        ordered,
        layout or {},
        cause.node,
    )


def _grouped(failures: Iterable[RankFailure]) -> list[RankFailure]:
    """The failures with ranks that failed alike together, the lowest rank of each first.

    Messages that are equal but for numbers are alike: ranks, addresses and sizes differ from one
    rank to the next.
    """
    groups: dict[tuple[str, str, FailureKind], RankFailure] = {}
    for one in sorted(failures, key=lambda one: one.ranks):
        alike = (one.error, re.sub(r"0x[0-9a-f]+|\d+", "#", one.message), one.kind)
        before = groups.get(alike)
        groups[alike] = one if before is None else replace(before, ranks=before.ranks + one.ranks)
    return list(groups.values())


def _as_cause(failure: RankFailure) -> tuple[int, bool, tuple[int, ...]]:
    """A sort key: likely causes first, broken connections after others of their class."""
    broken = bool(_BROKEN.search(failure.message))
    return CAUSES.index(failure.kind), broken, failure.ranks
