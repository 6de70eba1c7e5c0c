"""What is known of a rank that is gone without a word: what Ray says of its end, and the last that it printed. Pure."""

import re

from orchestrator.store.diagnosis import classify_words
from orchestrator.store.failures import FailureKind, RankFailure

# What Ray says of an end: its memory monitor's, which comes before the kernel's; that of a process which had not begun to
# train when it was told to go; Ray Train's of one that does not answer.
_SAID = (
    (
        re.compile(r"NODE_OUT_OF_MEMORY|running low on memory", re.IGNORECASE),
        FailureKind.OUT_OF_MEMORY,
    ),
    (re.compile(r"receives a SIGTERM"), FailureKind.PREEMPTED),
    (re.compile(r"HEALTH_CHECK_TIMEOUT"), FailureKind.HUNG),
)
_DETAIL = re.compile(r"Worker exit detail: (.+?)(?= Some common causes|\n|$)")
_LAST_WORDS = 2000  # characters of output in which a library says why it gave up


def lost_rank_failure(rank: int, error: BaseException, tail: str) -> RankFailure:
    """``error``: what Ray raised in its place. ``tail``: the end of its output, empty where that is not known."""
    cause = getattr(error, "health_check_failure", error)  # Ray Train wraps what Ray says
    name, text = type(cause).__name__, str(cause).strip()
    kind = next((kind for pattern, kind in _SAID if pattern.search(text)), None) or classify_words(
        name, text
    )
    if kind is FailureKind.LOST:  # an abort, say of NCCL, has printed its reason
        kind = classify_words(name, tail[-_LAST_WORDS:])
    return RankFailure((rank,), name, _message(text) or name, tail, kind)


def _message(text: str) -> str:
    """One line of Ray's many: how the process ended, where that is said."""
    detail = _DETAIL.search(text)
    lines = [line for line in text.splitlines() if line and not line.startswith("\t")]
    return detail[1].strip() if detail else " ".join(lines[-2:])
