"""Look, decide, act: one ``step`` is a look at the store, a pure decision, and its execution.

Nothing that matters lives here: a new controller on the same grid and store goes on where a killed one stopped.
"""

import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from orchestrator.execution.launcher import Finished, Launcher
from orchestrator.execution.run_stage import StageTask
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.chooser import LayoutChooser
from orchestrator.layouts.estimate import DoesNotFit
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.workload import Trains, work_of
from orchestrator.scheduler.policy import Facts, GiveUp, Running, Start, Wait, decide
from orchestrator.scheduler.retries import Attempts, after_failure
from orchestrator.stages.next_stages import next_stages, selection
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec, cell_stages
from orchestrator.store.failures import Failure, FailureKind, failure_of
from orchestrator.store.results import StoreResults
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from orchestrator.views.build import Activity, build_view
from orchestrator.views.grid_view import GridView, concluded, killed

RENEW_CLAIMS_S = 15.0
CLAIMED_ELSEWHERE_RECHECK_S = 2.0


@dataclass(frozen=True)
class Attempt:
    """A stage that runs. ``came_to``: rounds published and steps in a snapshot when it began."""

    spec: StageSpec
    layout: Layout
    started: float
    came_to: tuple[int, int]


class Controller:
    """Drives one grid to its end on one launcher."""

    def __init__(
        self,
        resolved: Resolved,
        store: Store,
        launcher: Launcher,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.resolved = resolved
        self._store = store
        self._launcher = launcher
        self._clock = clock
        self._owner = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.results = StoreResults(store)
        self._layouts = LayoutChooser(resolved, store, clock)
        self._most = Capacity(cpus=0)
        self._running: dict[str, Attempt] = {}  # in order of start
        self._timed_out: set[str] = set()
        self._attempts: dict[str, Attempts] = {}
        self._given_up: dict[str, str] = {}
        self._waits: dict[str, str] = {}
        self._claimed_elsewhere: dict[str, tuple[str, float]] = {}  # key -> who, and when we saw it
        self._renewed = clock()
        self._stopped = ""

    def step(self, wait_s: float = 0.0) -> GridView:
        """Collect what ended (waiting up to ``wait_s`` for it), start what can start, and say how things stand."""
        for finished in self._launcher.poll(wait_s):
            self._collect(finished)
        self._watch()
        while not self._act():
            pass
        return self.view()

    def _act(self) -> bool:
        """Decide and act once. False: a stage turned out to be another driver's, so that its room is free for others."""
        self._waits = {}
        ours = True
        for decision in decide(
            self._facts(), max_attempts=self.resolved.grid.resources.max_attempts
        ):
            match decision:
                case Start(spec, layout):
                    ours &= self._start(spec, layout)
                case GiveUp(spec, reason):
                    self._given_up[spec.key] = reason
                case Wait(spec, reason):
                    self._waits[spec.key] = reason
        return ours

    def _facts(self) -> Facts:
        needs, capacity = self._needs(), self._capacity()
        layouts = {spec.key: self._layouts.choose(spec, capacity, self._most) for spec in needs}
        return Facts(
            needs=needs,
            layouts={key: layout for key, layout in layouts.items() if isinstance(layout, Layout)},
            refused={
                key: layout.reason
                for key, layout in layouts.items()
                if isinstance(layout, DoesNotFit)
            },
            running={
                key: Running(attempt.spec.kind, attempt.layout)
                for key, attempt in self._running.items()
            },
            attempts=self._attempts,
            claimed_elsewhere=self._claimed_elsewhere_now(),
            capacity=capacity,
            most=self._most,
            max_parallel=self.resolved.grid.resources.max_parallel,
            measure_alone=self._launcher.measures_alone,
        )

    def _capacity(self) -> Capacity:
        """What the cluster has now. The most it ever had is remembered: nodes that were lost may come back."""
        resources = self.resolved.grid.resources
        capacity = self._launcher.capacity().limited(resources.memory, resources.gpu_memory)
        self._most = max(self._most, capacity, key=lambda each: (each.gpus, each.cpus))
        return capacity

    def view(self) -> GridView:
        """The grid as it stands. A stopped grid's unfinished cells are KILLED."""
        running = {key: attempt.spec.kind for key, attempt in self._running.items()}
        notes = {key: self._note(attempt) for key, attempt in self._running.items()}
        activity = Activity(running, self._waits, self._given_up, notes, live=True)
        view = build_view(self.resolved, self.results, activity)
        return killed(view, self._stopped) if self._stopped else concluded(view)

    def stop(self, reason: str) -> None:
        """Cancel what runs and give its claims back; ``reason`` goes to every run that is not done."""
        self._launcher.stop()
        for key in self._running:
            self._store.claims.release(key)
        self._running = {}
        self._stopped = reason

    def tidy(self) -> None:
        """Drop stage two's weights of checkpoints that are there: a driver may have been killed before it came to that."""
        study = self.resolved.study
        for cell in self.resolved.cells:
            layers = selection(cell, study, self.results)
            for spec in cell_stages(cell, study, layers) if layers else ():
                if spec.kind is StageKind.PRUNE and self.results.done(spec.key):
                    self._drop_transfer_weights(spec)

    def _needs(self) -> tuple[StageSpec, ...]:
        """The distinct stages that come next, a ranking as deep as the deepest cell wants it."""
        needs: dict[str, StageSpec] = {}
        for needed in next_stages(self.resolved, self.results):
            if needed.key in self._given_up:
                continue
            before = needs.get(needed.key)
            needs[needed.key] = (
                needed if before is None else replace(needed, depth=max(needed.depth, before.depth))
            )
        return tuple(needs.values())

    def _claimed_elsewhere_now(self) -> dict[str, str]:
        """Stages that another living driver was found to work on; believed for a while, then tried again."""
        now = self._clock()
        self._claimed_elsewhere = {
            key: seen
            for key, seen in self._claimed_elsewhere.items()
            if now - seen[1] < CLAIMED_ELSEWHERE_RECHECK_S
        }
        return {key: name for key, (name, _) in self._claimed_elsewhere.items()}

    def _start(self, spec: StageSpec, layout: Layout) -> bool:
        """False when another driver holds it. A store that cannot be written is a failure of the attempt, not of the driver."""
        try:
            if (other := self._store.claims.take(spec.key, self._owner)) is not None:
                name = f"another driver (process {other.pid} on {other.host})"
                self._claimed_elsewhere[spec.key] = name, self._clock()
                return False
            self.results.forget(
                spec.key
            )  # the other driver may have finished between our look and our claim
            if self._is_satisfied(spec):
                self._store.claims.release(spec.key)
                return True
            self._store.stages.remove_orphans(spec.key)
            attempt = Attempt(spec, layout, self._clock(), self._progress(spec.key))
        except OSError as error:
            self._count(spec, failure_of(error))
            return True
        self._running[spec.key] = attempt
        self._launcher.start(self._task(spec, layout))
        return True

    def _task(self, spec: StageSpec, layout: Layout) -> StageTask:
        resources = self.resolved.grid.resources
        return StageTask(
            spec,
            self._store.uri,
            layout,
            attempt=uuid.uuid4().hex[:8],
            lr_scale=self._attempts.get(spec.key, Attempts()).lr_scale,
            snapshot_every_s=resources.snapshot_every_s,
            snapshot_every_steps=resources.snapshot_every_steps,
            hang_timeout_s=resources.hang_timeout_s,
        )

    def _progress(self, key: str) -> tuple[int, int]:
        """Rounds published, and steps in the newest snapshot."""
        newest = StoreSnapshots(self._store, key).latest()
        return len(self._store.rankings.rounds(key)), newest.step if newest else 0

    def _note(self, attempt: Attempt) -> str:
        """What is out of the ordinary about it, for people."""
        before = self._attempts.get(attempt.spec.key)
        gang = attempt.layout.ranks > 1 or (
            before is not None and work_of(attempt.spec).trains is not Trains.NOTHING
        )
        parts = [f"again after {before.message}"] if before else []
        parts += (
            [f"{before.lr_scale:g} of the learning rate"]
            if before and before.lr_scale != 1.0
            else []
        )
        return "; ".join((*parts, *([attempt.layout.text] if gang else [])))

    def _is_satisfied(self, spec: StageSpec) -> bool:
        """Whether the store holds what the stage was started for."""
        if spec.kind is StageKind.RANKING:
            return len(self.results.order(spec.key)) >= spec.depth
        return self.results.done(spec.key)

    def _collect(self, finished: Finished) -> None:
        key = finished.key
        attempt = self._running.pop(key)
        self.results.forget(key)
        failure = self._failure(attempt, finished.failure)
        if failure is not None:
            self._handle_failure(attempt, failure)
        self._store.claims.release(key)
        if failure is None:
            self._drop_transfer_weights(attempt.spec)

    def _failure(self, attempt: Attempt, said: Failure | None) -> Failure | None:
        """What went wrong, as we know it: a result may be missing, and we may have ended the stage ourselves."""
        if attempt.spec.key in self._timed_out:
            self._timed_out.discard(attempt.spec.key)
            if said is not None:
                said = replace(
                    said,
                    error="Timeout",
                    message=f"ran longer than {self._limit_s:g} s",
                    kind=FailureKind.TIMEOUT,
                )
                return replace(said, when=time.time())
        if said is None and not self._is_satisfied(attempt.spec):
            message = "the stage ended without an error, but its result is not in the store"
            return Failure("LostResult", message, FailureKind.LOST, when=time.time())
        return said

    def _handle_failure(self, attempt: Attempt, failure: Failure) -> None:
        """Record the failure, unless the stage's process lived to do so, and make ready for what follows from it."""
        key = attempt.spec.key
        if (failure.when, failure.message) not in [
            (known.when, known.message) for known in self._store.failures.history(key)
        ]:
            layout = failure.layout or attempt.layout.to_json()
            with suppress(OSError):  # a full store: at least the cells will say it
                self._store.failures.record(key, replace(failure, layout=layout))
        climbed = failure.kind is FailureKind.OUT_OF_MEMORY and self._layouts.climb(
            attempt.spec, attempt.layout, self._capacity(), self._most
        )
        self._count(
            attempt.spec, failure, progressed=self._progress(key) > attempt.came_to, climbed=climbed
        )

    def _count(
        self, spec: StageSpec, failure: Failure, *, progressed: bool = False, climbed: bool = False
    ) -> None:
        before = self._attempts.get(spec.key, Attempts())
        after = after_failure(before, failure, progressed=progressed, climbed=climbed)
        self._attempts[spec.key] = after.attempts
        if after.restarts:
            self._store.stages.drop_snapshots(spec.key)

    def _drop_transfer_weights(self, spec: StageSpec) -> None:
        """Stage two's weights have served once the checkpoint made of them is whole."""
        if (
            spec.kind is StageKind.PRUNE
            and spec.reads
            and not self.resolved.grid.storage.keep_transfer_weights
        ):
            self._store.stages.drop_files(spec.reads[0])
            self.results.forget(spec.reads[0])

    @property
    def _limit_s(self) -> float:
        return self.resolved.grid.resources.timeout_s or float("inf")

    def _watch(self) -> None:
        """Renew our claims; end stages that run longer than they may."""
        now = self._clock()
        for key, attempt in self._running.items():
            if now - attempt.started > self._limit_s and key not in self._timed_out:
                self._timed_out.add(key)
                self._launcher.cancel(key)
        if now - self._renewed >= RENEW_CLAIMS_S:
            self._renewed = now
            for key in self._running:
                self._store.claims.renew(key, self._owner)
