"""Stages that follow one another in one process, each on what the one before left in memory.

Each is committed under its own key, by its own ticket, and fails by itself. Knows no cluster.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from orchestrator.execution.handover import Handover
from orchestrator.execution.run_stage import Crash, run_function
from orchestrator.execution.stage_task import RankContext, StageTask, never_preempted
from orchestrator.execution.timings import Stopwatch
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import NOWHERE, Failure, Node
from orchestrator.store.patience import stage_patience
from orchestrator.store.store import Store

Told = Callable[[str], None]
ToldOf = Callable[[str, str], None]


def tell_nobody(key: str) -> None:
    """Do nothing: this is ``computes`` and ``done`` where nobody wants to hear of them."""


def tell_nobody_of(key: str, progress: str) -> None:
    """Do nothing: this is ``tells`` where nobody asks how far the stages have come."""


def run_chain(
    task: StageTask,
    leaving: Callable[[], bool] = never_preempted,
    computes: Told = tell_nobody,
    done: Told = tell_nobody,
    node: Node = NOWHERE,
    tells: ToldOf = tell_nobody_of,
) -> Mapping[str, Failure | None]:
    """Run ``task`` and the stages of its ``then``, one after the other, in this process alone.

    Returns by the stage's key None where it was committed, else the failure, which is recorded as
    far as that can be. Keys that are absent were not reached: the chain ends at the first failure,
    and between two stages once ``leaving`` says that this process was told to go. ``computes`` is
    told a key as that stage has its device, ``done`` as it is committed, perhaps from another
    thread, ``tells`` a key and how far that stage has come, in words; never two at a time.
    ``node`` is where this process runs. It waits for minutes for a store that gives no answer.
    """
    with stage_patience():
        chain = _Chain(task, leaving, computes, done, node, tells)
        chain.run()
    return chain.outcomes


class _Chain:
    """The stages of one chain, and what has become of them."""

    def __init__(
        self,
        task: StageTask,
        leaving: Callable[[], bool],
        computes: Told,
        done: Told,
        node: Node,
        tells: ToldOf,
    ) -> None:
        self.outcomes: dict[str, Failure | None] = {}
        self._lock = threading.Lock()
        self._done, self._computes, self._tells = done, computes, tells
        self._leaving, self._node = leaving, node
        self._store = Store(task.store)
        self._handover = Handover(self._store, self._committed)
        self._contexts = [self._context(member) for member in (task, *task.then)]

    def _context(self, member: StageTask) -> RankContext:
        computes = partial(self._tell, self._computes, member.spec.key)
        tells = partial(self._tell, self._tells, member.spec.key)
        context = RankContext(member, self._store, 0, self._leaving, computes, tells)
        watch = Stopwatch(member.asked)
        node, handover = self._node.address, self._handover
        return replace(context, timings=watch, node=node, handover=handover)

    def _tell(self, told: Callable[..., None], *what: str) -> None:
        with self._lock:
            told(*what)

    def _committed(self, key: str) -> None:
        """Note that a stage is committed, whoever did it."""
        self.outcomes[key] = None
        self._tell(self._done, key)

    def run(self) -> None:
        """Run the stages up to the first that fails, and see to all commits."""
        handover = self._handover
        for number, context in enumerate(self._contexts):
            if number and not handover.waits_for_next and self._leaving():
                break
            if number:  # its seconds begin now
                context = self._contexts[number] = replace(context, timings=Stopwatch())
            crash = run_function(context)
            if number == 1:  # the first one ended perhaps before it was committed
                self._contexts[0].report.remove()
            if crash is not None:
                self._fail(number, crash)
                return
        if (error := handover.settle()) is not None:
            self._fail_at_commit(Crash(error, repr(error)))

    def _fail(self, number: int, crash: Crash) -> None:
        """See to what is not committed yet, now that a stage has failed."""
        handover = self._handover
        if (error := handover.settle()) is not None:
            self._fail_at_commit(Crash(error, repr(error)))
        elif handover.keep_trained is None:
            self._record(self._contexts[number], crash)
        elif handover.is_decided:
            self._fail_at_commit(crash)
        else:
            self._keep_trained(handover.keep_trained, number, crash)

    def _fail_at_commit(self, crash: Crash) -> None:
        """Record the failure of the first stage that is not committed: it is to be tried again."""
        left = [each for each in self._contexts if each.task.spec.key not in self.outcomes]
        self._record(left[0], crash)

    def _keep_trained(self, keep: Callable[[], None], number: int, crash: Crash) -> None:
        """Commit stage two by itself, for the stage after it has failed; then record that."""
        trained = self._contexts[number - 1]
        self._handover.release()
        lost = run_function(trained, lambda context: keep())
        self._record(*((trained, lost) if lost is not None else (self._contexts[number], crash)))

    def _record(self, context: RankContext, crash: Crash) -> None:
        """Make a failure of a crash, and record it as far as the store lets us."""
        task = context.task
        failure = failure_of(crash.error, crash.traceback, task.layout.to_json(), self._node)
        with suppress(OSError):  # a full store: whoever started us has the failure, too
            self._store.failures.record(task.spec.key, failure, crash.output)
        self.outcomes[task.spec.key] = failure
