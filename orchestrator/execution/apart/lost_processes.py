"""The failure of a stage whose process could not tell its own. Knows no cluster."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from orchestrator.execution.stage_task import StageTask, rank_reports
from orchestrator.processes.request import Ended, Raised
from orchestrator.store.diagnosis import classify_words
from orchestrator.store.failures import NOWHERE, Failure, FailureKind, Node, RankFailure
from orchestrator.store.rank_reports import RankReport
from orchestrator.store.store import Store

DIED = "ProcessDiedError"
_LAST_WORDS = 2000  # characters of output in which a library says why it gave up


def lost_failure(task: StageTask, told: Callable[[str], RankFailure], details: str = "") -> Failure:
    """Return the failure of a stage whose process is gone, and remove what its ranks left.

    It is what the first of them reported; else what ``told`` makes of the end of its output, which
    is empty where it is not known.
    """
    reports: list[RankReport] = []
    with suppress(OSError):  # a store that is away does not keep an end from us
        reports = rank_reports(task)
    said = reports[0].failure() if reports else None
    failure = said or told(reports[0].tail() if reports else "")
    for report in reports:
        report.remove()
    return Failure(
        failure.error,
        failure.message,
        failure.kind,
        failure.tail or details,
        time.time(),
        layout=task.layout.to_json(),
    )


def ended_failure(task: StageTask, ended: Ended, node: Node = NOWHERE) -> Failure:
    """Return the failure of a stage of one rank whose process did not return, and record it.

    It is recorded as far as that can be done; whoever started the stage has it, too.
    """
    if ended.raised is not None:
        failure = _raised(task, ended.raised)
    else:
        failure = lost_failure(task, lambda tail: died(ended, tail))
    failure = replace(failure, node=node)
    with suppress(OSError):
        Store(task.store).failures.record(task.spec.key, failure, failure.details)
    return failure


def died(ended: Ended, tail: str) -> RankFailure:
    """Return the failure of a process of which only its end is known, and what it printed."""
    kind, message = FailureKind.LOST, f"its process {_how(ended)}"
    if ended.out_of_memory:
        kind = FailureKind.OUT_OF_MEMORY
    elif ended.status == -signal.SIGTERM:
        kind = FailureKind.PREEMPTED
    else:  # a library that gives up has printed its reason
        kind = classify_words(DIED, tail[-_LAST_WORDS:])
    return RankFailure((0,), DIED, message, tail, kind)


def _how(ended: Ended) -> str:
    """Return how a process ended, in words."""
    if ended.out_of_memory:
        return "was ended by the kernel: there was no memory left"
    if ended.status is None:
        return "is gone, and nobody could say how it ended"
    if ended.status < 0:
        return f"was ended by {_signal_name(-ended.status)}"
    return f"ended by itself with exit code {ended.status}"


def _signal_name(number: int) -> str:
    """Return a signal's name: ``SIGSEGV``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _raised(task: StageTask, raised: Raised) -> Failure:
    """Return the failure that is an error of ours from outside the stage's own function."""
    kind = classify_words(raised.error, raised.message)
    message = raised.message.strip() or raised.error
    layout = task.layout.to_json()
    return Failure(raised.error, message, kind, raised.traceback, time.time(), layout=layout)
