"""A stage as it travels to the processes that compute it, and what one of these has at hand. Knows no cluster."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orchestrator.layouts.layout import Layout
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.store.failures import FailureKind, RankFailure
from orchestrator.store.rank_reports import TAIL_CHARS, RankReport
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from trsp.training.watchdog import Watchdog


@dataclass(frozen=True)
class StageTask:
    """A stage and where to compute it: all of it travels to the worker."""

    spec: StageSpec
    store: str
    layout: Layout = field(default_factory=Layout)
    attempt: str = (
        "0"  # unique among the attempts of this stage: names what it leaves behind until it commits
    )
    lr_scale: float = 1.0  # below 1 after a run that diverged: a factor on every learning rate
    snapshot_every_s: float = 600.0
    snapshot_every_steps: int | None = None
    hang_timeout_s: float = 1800.0


def never_preempted() -> bool:
    """``leaving`` of a process that nobody tells to go."""
    return False


def rank_reports(task: StageTask) -> list[RankReport]:
    """Of all the ranks of this attempt."""
    store = Store(task.store)
    return [
        RankReport(store, task.spec.key, task.attempt, rank) for rank in range(task.layout.ranks)
    ]


@dataclass(frozen=True)
class RankContext:
    """A process that computes a stage, alone or with others."""

    task: StageTask
    store: Store
    number: int = 0
    leaving: Callable[[], bool] = never_preempted

    @property
    def leads(self) -> bool:
        """Whether it is this one that writes results."""
        return self.number == 0

    @property
    def report(self) -> RankReport:
        return RankReport(self.store, self.task.spec.key, self.task.attempt, self.number)

    @contextmanager
    def training(self) -> Iterator[Any]:
        """What the training loop reports to: a Progress that takes snapshots, while a watchdog looks for steps."""
        from trsp.training.progress import Progress

        task = self.task
        watchdog = Watchdog(task.hang_timeout_s, partial(_record_hang, self))
        snapshots = StoreSnapshots(self.store, task.spec.key, task.attempt)
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


def _record_hang(rank: RankContext, stacks: str) -> None:
    """Called in a process that is about to be ended."""
    message = f"no step for {rank.task.hang_timeout_s:g} s"
    said = f"{rank.report.tail()}\n{stacks}"[-TAIL_CHARS:]
    rank.report.write(RankFailure((rank.number,), "HungError", message, said, FailureKind.HUNG))
