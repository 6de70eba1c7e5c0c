"""Runs a stage in the process it was given to, and makes a record of what goes wrong.

Knows no cluster and no MLflow.
"""

import io
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from orchestrator.execution.stage_functions import STAGES
from orchestrator.execution.stage_task import (
    RankContext,
    StageTask,
    never_preempted,
    unheard,
    untold,
)
from orchestrator.execution.timings import Stopwatch
from orchestrator.layouts.peak import GPU_CONTEXT_BYTES
from orchestrator.scratch import remove_left_folders, scratch_folder
from orchestrator.stages.stage_specs import StageKind
from orchestrator.stages.timings import Phase
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import NOWHERE, Failure, Node, RankFailure
from orchestrator.store.logs.rank_log import RankLog, say
from orchestrator.store.patience import stage_patience
from orchestrator.store.rank_reports import TAIL_CHARS, RankReport, read_tail
from orchestrator.store.store import Store
from trsp.progress_lines import telling

__all__ = ["RankError", "StageTask", "run_rank", "run_task"]


class RankError(Exception):
    """The failure of one rank of a gang, in words.

    The error behind it need not be known, or be picklable, where this is read.
    """

    def __init__(self, failure: RankFailure) -> None:
        super().__init__(failure)
        self.failure = failure


def run_task(
    task: StageTask,
    leaving: Callable[[], bool] = never_preempted,
    computes: Callable[[], None] = untold,
    node: Node = NOWHERE,
    tells: Callable[[str], None] = unheard,
) -> Failure | None:
    """Run one stage to its commit, in this process alone.

    Returns None on success. An error is recorded in the store, as far as that can be written, and
    returned. ``leaving`` says whether this process was told to go; a training stage then keeps what
    it has and fails as PREEMPTED. ``computes`` is called once it has its device, ``tells`` now and
    then with how far it has come, in words. ``node`` is where this process runs. It waits for
    minutes for a store that gives no answer.
    """
    with stage_patience():
        store, key = Store(task.store), task.spec.key
        watch = Stopwatch(task.asked)
        context = RankContext(task, store, 0, leaving, computes, tells, watch, node.address)
        crash = run_function(context)
        if crash is None:
            return None
        failure = failure_of(crash.error, crash.traceback, task.layout.to_json(), node)
        with suppress(OSError):  # a full store: whoever started us has the failure, too
            store.failures.record(key, failure, crash.output)
    return failure


def run_rank(
    task: StageTask,
    rank: int,
    leaving: Callable[[], bool] = never_preempted,
    computes: Callable[[], None] = untold,
    node: Node = NOWHERE,
    tells: Callable[[str], None] = unheard,
) -> None:
    """Run one rank of a gang's stage, to its commit where that is rank 0.

    Raises RankError for whatever goes wrong. Nothing is recorded: to make one failure of what all
    the ranks raised is the business of whoever started them. The other arguments are those of
    ``run_task``; only rank 0 says that it computes, and how far it is.
    """
    watch = Stopwatch(task.asked)
    with stage_patience():
        store = Store(task.store)
        context = RankContext(task, store, rank, leaving, computes, tells, watch, node.address)
        crash = run_function(context)
    if crash is None:
        return
    failure = failure_of(crash.error)
    tail = crash.output or crash.traceback
    raise RankError(RankFailure((rank,), failure.error, failure.message, tail, failure.kind, node))


@dataclass(frozen=True)
class Crash:
    """How a stage's function failed."""

    error: Exception
    traceback: str  # at most its last TAIL_CHARS characters
    output: str = ""  # the end of what the process printed, with the traceback


def run_function(
    context: RankContext, work: Callable[[RankContext], None] | None = None
) -> Crash | None:
    """Call the stage's function, or ``work``, its output captured. None when it did its work."""
    crash = None
    remove_left_folders()
    log = context.log
    with _captured_output(context.report, log if work is None else None) as output:
        say(_beginning(context))
        try:
            with context.timings.phase(Phase.COMPUTE), _devices(context):
                if context.leads and work is None:
                    context.computes()
                with telling(partial(_tell, context, log)):
                    (work or STAGES[context.task.spec.kind])(context)
            log.print_last_progress()
            say(f"{time.strftime('%H:%M:%S')} done")
        except Exception as error:
            trace = traceback.format_exc()
            say(trace)
            crash = Crash(error, trace[-TAIL_CHARS:])
    if context.handover is None or not context.handover.holds(context.task.spec.key):
        context.report.remove()
    return crash and replace(crash, output=output.getvalue())


def _beginning(context: RankContext) -> str:
    """Return the first line of a log: ``2026-11-25 03:04:05 transfer-1f3a..., rank 0 of 2, ...``.

    With the attempt, the host and the process.
    """
    task, times = context.task, context.times()
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    rank = f"rank {context.rank} of {task.layout.ranks}"
    return f"{began} {task.spec.key}, attempt {task.attempt}, {rank}, on {times.node}"


def _tell(context: RankContext, log: RankLog, words: str) -> None:
    """Let the log say how far the stage has come, and whoever started its first rank know."""
    log.print_progress(words)
    if context.leads:
        context.tells(words)


@contextmanager
def _devices(context: RankContext) -> Iterator[None]:
    """Hold the devices of this process beside others; a measurement sees to its own."""
    with ExitStack() as stack:
        if context.task.spec.kind is not StageKind.MEASURE:
            stack.enter_context(context.sharing_devices())
        if context.task.layout.shares_gpu:
            from trsp.distributed.device import sharing_memory  # loads torch

            stack.enter_context(sharing_memory(context.task.layout.gpus, GPU_CONTEXT_BYTES))
        yield


@contextmanager
def _captured_output(report: RankReport, log: RankLog | None) -> Iterator[io.StringIO]:
    """Divert what any library in any language writes to file descriptors 1 and 2 into a file.

    Afterwards, the yielded StringIO holds the end of it, and the ``log``, if there is one, more.
    The file is the report's, which others can read meanwhile, or a temporary one where the store
    has no room.
    """
    end = io.StringIO()
    with ExitStack() as stack:
        path = report.output_path() or stack.enter_context(scratch_folder("output")) / "output.txt"
        file = stack.enter_context(path.open("wb"))
        if log is not None:
            stack.enter_context(log.kept(path))
        _flush()
        saved = [os.dup(1), os.dup(2)]
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield end
        finally:
            _flush()
            for descriptor, target in zip(saved, (1, 2), strict=True):
                os.dup2(descriptor, target)
                os.close(descriptor)
            end.write(read_tail(path))


def _flush() -> None:
    """Write out what Python buffers of its output."""
    with suppress(OSError):  # a full disk: the error that is told of is the one to be seen
        sys.stdout.flush()
        sys.stderr.flush()
