"""Runs a stage in the process it was given to, and makes a record of what goes wrong. Knows no cluster and no MLflow."""

import io
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.execution.stage_functions import STAGES
from orchestrator.execution.stage_task import RankContext, StageTask, never_preempted
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure, RankFailure
from orchestrator.store.rank_reports import TAIL_CHARS, RankReport, read_tail
from orchestrator.store.store import Store

__all__ = ["RankError", "StageTask", "run_rank", "run_task"]


class RankError(Exception):
    """What one rank of a gang failed with, in words: its own error need not be known where this is read."""

    def __init__(self, said: RankFailure) -> None:
        super().__init__(said)
        self.said = said


def run_task(task: StageTask, leaving: Callable[[], bool] = never_preempted) -> Failure | None:
    """Run one stage to its commit, in this process alone. An error becomes a recorded failure.

    ``leaving`` says whether this process was told to go; a training stage then keeps what it has and fails as PREEMPTED.
    """
    store, key = Store(task.store), task.spec.key
    ended = _end_of(RankContext(task, store, 0, leaving))
    if ended is None:
        return None
    failure = failure_of(ended.error, ended.traceback, task.layout.to_json())
    with suppress(OSError):  # a full store: whoever started us has the failure, too
        store.failures.record(key, failure, ended.output)
    return failure


def run_rank(task: StageTask, rank: int, leaving: Callable[[], bool] = never_preempted) -> None:
    """The same of one rank of a gang. Raises RankError; to record what all the ranks said is not its business."""
    ended = _end_of(RankContext(task, Store(task.store), rank, leaving))
    if ended is not None:
        failure = failure_of(ended.error)
        raise RankError(
            RankFailure(
                (rank,),
                failure.error,
                failure.message,
                ended.output or ended.traceback,
                failure.kind,
            )
        )


@dataclass(frozen=True)
class _Ended:
    """How a rank failed. ``output``: the end of what it printed, with the traceback."""

    error: Exception
    traceback: str
    output: str


def _end_of(rank: RankContext) -> _Ended | None:
    """Run the stage's function; None when it did its work."""
    ended = None
    with _captured_output(rank.report) as output:
        try:
            STAGES[rank.task.spec.kind](rank)
        except Exception as error:
            with suppress(OSError):  # nor is there room for this on a full disk
                traceback.print_exc()
            ended = error, traceback.format_exc()[-TAIL_CHARS:]
    rank.report.remove()
    return ended and _Ended(*ended, output.getvalue())


@contextmanager
def _captured_output(report: RankReport) -> Iterator[io.StringIO]:
    """Everything written to file descriptors 1 and 2, by any library in any language; the end of it, in the StringIO."""
    end = io.StringIO()
    with ExitStack() as stack:
        path = (
            report.output_path()
            or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "output.txt"
        )
        log = stack.enter_context(path.open("wb"))
        _flush()
        saved = [os.dup(1), os.dup(2)]
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield end
        finally:
            _flush()
            for descriptor, target in zip(saved, (1, 2), strict=True):
                os.dup2(descriptor, target)
                os.close(descriptor)
            end.write(read_tail(path))


def _flush() -> None:
    with suppress(OSError):  # a full disk: the error that is told of is the one to be seen
        sys.stdout.flush()
        sys.stderr.flush()
