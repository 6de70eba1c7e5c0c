"""A stage as it travels to the processes that compute it, and what one of these has at hand.

Knows no cluster.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.coordination.stage_log import Ticket
from orchestrator.execution.handover import Handover
from orchestrator.execution.timings import Stopwatch
from orchestrator.layouts.layout import Layout
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.stages.timings import Phase, StageTimings
from orchestrator.store.failures import FailureKind, RankFailure
from orchestrator.store.logs.rank_log import LOGS, RankLog
from orchestrator.store.rank_reports import TAIL_CHARS, RankReport
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from trsp.distributed.device_lock import share_devices
from trsp.records import RoundRecord
from trsp.training.watchdog import Watchdog

SHARE_WAIT_S = 600.0  # a measurement of another driver holds a stage up for so long, at most


@dataclass(frozen=True)
class StageTask:
    """One attempt at a stage: what to compute and how. All of it travels to the worker.

    ``attempt`` is unique among the attempts at this stage: it names what this one leaves behind
    until it commits. ``claim`` is the number of the claim that it is started under, in the stage's
    log; 0 where nobody ever claimed the stage. ``lr_scale`` is a factor on every learning rate,
    below 1 after a run that diverged. Snapshots are taken after whichever of the two limits comes
    first.
    """

    spec: StageSpec
    store: str  # URI of the store that the stage reads and commits to
    layout: Layout = field(default_factory=Layout)
    attempt: str = "0"
    claim: int = 0
    asked: float = 0.0  # when it was started, in seconds since the epoch; 0: not known
    lr_scale: float = 1.0
    snapshot_every_s: float = 600.0
    snapshot_every_steps: int | None = None  # None: by time alone
    hang_timeout_s: float = 1800.0  # without a step for so long, a rank ends itself
    device_wait_s: float = 1800.0  # at most, for its device: a measurement wants it for itself
    keep_weights: bool = False  # of stage two, also where the stage that reads them is in ``then``
    # The stages that follow in the same process, each on what the one before has in memory.
    then: tuple["StageTask", ...] = ()

    @property
    def ticket(self) -> Ticket:
        """What this attempt publishes by."""
        return Ticket(self.spec.key, self.claim, self.attempt)

    @property
    def is_read_next(self) -> bool:
        """Whether the next stage of its chain is the one that reads its artifacts."""
        return bool(self.then) and self.spec.key in self.then[0].spec.reads


def never_preempted() -> bool:
    """Return False: this is ``leaving`` for a process that nobody tells to go."""
    return False


def untold() -> None:
    """Do nothing: this is ``computes`` for a process that nobody wants to hear of."""


def unheard(progress: str) -> None:
    """Do nothing: this is ``tells`` for a process of which nobody asks how far it has come."""


def rank_reports(task: StageTask) -> list[RankReport]:
    """Return what each rank of this attempt leaves in the store, by rank."""
    store = Store(task.store)
    return [
        RankReport(store, task.spec.key, task.attempt, rank) for rank in range(task.layout.ranks)
    ]


@dataclass(frozen=True)
class RankContext:
    """What a process that computes a stage, alone or with others, has at hand.

    ``leaving`` says whether the process was told to go. ``computes`` tells whoever started the
    stage that it has its device, ``tells`` how far it has come, in words: ``step 12 of 320, loss
    2.713``. ``handover`` is there where the stage is one of a chain.
    ``timings`` counts its seconds. ``node`` is where it runs, for people.
    """

    task: StageTask
    store: Store
    rank: int = 0
    leaving: Callable[[], bool] = never_preempted
    computes: Callable[[], None] = untold
    tells: Callable[[str], None] = unheard
    timings: Stopwatch = field(default_factory=Stopwatch)
    node: str = ""
    handover: Handover | None = None

    @property
    def leads(self) -> bool:
        """Whether this rank is the one that writes results."""
        return self.rank == 0

    @property
    def report(self) -> RankReport:
        """What this rank leaves in the store until a failure is recorded."""
        return RankReport(self.store, self.task.spec.key, self.task.attempt, self.rank)

    @property
    def log(self) -> RankLog:
        """The log of this rank, which begins now."""
        folder = self.store.stages.folder(self.task.spec.key, LOGS)
        return RankLog(folder, self.task.attempt, self.rank)

    def commit(
        self,
        record: Mapping[str, Any],
        versions: Mapping[str, str],
        files: Path | None = None,
    ) -> None:
        """Commit the stage's result, with the folder of artifacts that was staged for it.

        ClaimLostError: the stage is no longer this attempt's own.
        """
        commit = self.store.stages.commit if self.handover is None else self.handover.commit
        with self.timings.phase(Phase.COMMIT):
            commit(self.task.ticket, self.task.spec, record, files, versions, self.times)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a new local folder for the artifacts that ``commit`` is to keep."""
        stages = self.store.stages if self.handover is None else self.handover
        with stages.staging(self.task.ticket) as folder:
            yield folder

    def may_publish(self, *, wait: bool = False) -> bool:
        """Return whether all that the stage builds on is committed; with ``wait``, once it is.

        EarlierFailedError: it will not be.
        """
        return self.handover is None or self.handover.is_committed(wait=wait)

    def publish(self, record: RoundRecord) -> None:
        """Publish a ranking's round. ClaimLostError: the ranking is not this attempt's own."""
        with self.timings.phase(Phase.COMMIT):
            self.store.rankings.publish(self.task.ticket, record, self.times)

    def times(self) -> StageTimings:
        """Return where the seconds of this attempt have gone up to now."""
        layout, timings = self.task.layout, self.timings
        return StageTimings(
            timings.asked,
            timings.began,
            time.time(),
            timings.seconds,
            self.task.attempt,
            self.node or socket.gethostname(),
            os.getpid(),
            layout.ranks,
            float(layout.ranks * layout.cpus),
            float(layout.ranks * layout.gpus),
        )

    @contextmanager
    def sharing_devices(self) -> Iterator[None]:
        """Compute beside others of this machine, but not while a measurement has the device.

        A rank that waits gives no sign of life: it waits for less than its peers allow.
        """
        task = self.task
        wait_s = min(SHARE_WAIT_S, task.device_wait_s, task.hang_timeout_s / 2)
        with share_devices(wait_s, queue=task.layout.ranks == 1):
            yield

    @contextmanager
    def training(self) -> Iterator[Any]:
        """Yield the Progress that a training loop reports to: it takes snapshots.

        A watchdog waits for its steps meanwhile, and ends this process when none comes for
        ``hang_timeout_s``.
        """
        from trsp.training.progress import Progress

        task = self.task
        watchdog = Watchdog(task.hang_timeout_s, partial(_record_hang, self))
        snapshots = StoreSnapshots(self.store, task.spec.key, task.ticket)
        try:
            yield Progress(
                snapshots,
                task.snapshot_every_s,
                task.snapshot_every_steps,
                watchdog.beat,
                self.leaving,
            )
        finally:
            watchdog.stop()


def _record_hang(context: RankContext, stacks: str) -> None:
    """Leave a failure with the output and stacks of this process, which is about to be ended."""
    message = f"no step for {context.task.hang_timeout_s:g} s"
    tail = f"{context.report.tail()}\n{stacks}"[-TAIL_CHARS:]
    failure = RankFailure((context.rank,), "HungError", message, tail, FailureKind.HUNG)
    context.report.write(failure)
