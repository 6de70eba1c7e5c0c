"""What is known of a rank that is gone without a word: Ray's account of it, and its last output.

Pure.
"""

import re

from orchestrator.store.diagnosis import classify_words
from orchestrator.store.failures import FailureKind, RankFailure

# What Ray says of an end: by its memory monitor, which comes before the kernel's; of a process
# which had not begun to train when it was told to go; by Ray Train, of one that does not answer.
_KINDS = (
    (
        re.compile(r"NODE_OUT_OF_MEMORY|running low on memory", re.IGNORECASE),
        FailureKind.OUT_OF_MEMORY,
    ),
    (re.compile(r"receives a SIGTERM"), FailureKind.PREEMPTED),
    (re.compile(r"because its node has died|node it was running on"), FailureKind.NODE_LOST),
    (re.compile(r"HEALTH_CHECK_TIMEOUT"), FailureKind.HUNG),
)
_DETAIL = re.compile(r"Worker exit detail: (.+?)(?= Some common causes|\n|$)")
_LAST_WORDS = 2000  # characters of output in which a library says why it gave up


def lost_rank_failure(rank: int, error: BaseException, tail: str) -> RankFailure:
    """Return the failure of a rank that could not tell its own.

    ``error`` is what Ray raised in its place. ``tail`` is the end of its output, empty where that
    is not known.
    """
    cause = getattr(error, "health_check_failure", error)  # Ray Train wraps what Ray says
    name, text = type(cause).__name__, str(cause).strip()
    kind = _kind_of(name, text)
    if kind is FailureKind.LOST:  # an abort, say of NCCL, has printed its reason
        kind = classify_words(name, tail[-_LAST_WORDS:])
    return RankFailure((rank,), name, _message(text) or name, tail, kind)


def _kind_of(name: str, text: str) -> FailureKind:
    """Return the class of one of Ray's errors, by its name and text."""
    for pattern, kind in _KINDS:
        if pattern.search(text):
            return kind
    return classify_words(name, text)


def _message(text: str) -> str:
    """Return one line for Ray's many: how the process ended, where that is said."""
    if detail := _DETAIL.search(text):
        return detail[1].strip()
    lines = [line for line in text.splitlines() if line and not line.startswith("\t")]
    return " ".join(lines[-2:])
