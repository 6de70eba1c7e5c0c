"""Look, decide, act: one ``step`` is a look at the store, a pure decision, and its execution.

Nothing that matters lives here: a new controller on the same grid and store goes on where a killed one stopped.
"""

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from orchestrator.failures import Failure, FailureKind
from orchestrator.launcher import Finished, Launcher
from orchestrator.layout import Layout
from orchestrator.look import Activity, StoreResults, look, next_stages
from orchestrator.policy import Attempts, Facts, GiveUp, Start, Wait, decide
from orchestrator.resolve import Resolved
from orchestrator.run_stage import StageTask
from orchestrator.stages import Kind, StageSpec, cell_stages, selection
from orchestrator.store import Store
from orchestrator.views import GridView, Status
from trsp.config import EngineSettings

RENEW_CLAIMS_S = 15.0
FOREIGN_RECHECK_S = 2.0


class Controller:
    """Drives one grid to its end on one launcher."""

    def __init__(
        self, resolved: Resolved, store: Store, launcher: Launcher, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.resolved = resolved
        self._store = store
        self._launcher = launcher
        self._clock = clock
        self._owner = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.results = StoreResults(store)
        self._running: dict[str, StageSpec] = {}
        self._started: dict[str, float] = {}
        self._timed_out: set[str] = set()
        self._attempts: dict[str, Attempts] = {}
        self._given_up: dict[str, str] = {}
        self._waits: dict[str, str] = {}
        self._foreign: dict[str, tuple[str, float]] = {}  # key -> who, and when we saw it
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
        """Decide and act once. False: a stage turned out to be another driver's, so that its slot is free for others."""
        resources = self.resolved.grid.resources
        facts = Facts(
            needs=self._needs(),
            running={key: spec.kind for key, spec in self._running.items()},
            attempts=self._attempts,
            foreign=self._foreign_now(),
            slots=resources.max_parallel or self._launcher.slots(),
            measure_alone=self._launcher.measures_alone,
        )
        self._waits = {}
        ours = True
        for decision in decide(facts, max_attempts=resources.max_attempts):
            match decision:
                case Start(spec):
                    ours &= self._start(spec)
                case GiveUp(spec, reason):
                    self._given_up[spec.key] = reason
                case Wait(spec, reason):
                    self._waits[spec.key] = reason
        return ours

    def view(self) -> GridView:
        """The grid as it stands. A stopped grid's unfinished cells are KILLED."""
        running = {key: spec.kind for key, spec in self._running.items()}
        activity = Activity(running, self._waits, self._given_up, live=True)
        view = look(self.resolved, self.results, activity)
        return _killed(view, self._stopped) if self._stopped else _concluded(view)

    def stop(self, reason: str) -> None:
        """Cancel what runs and give its claims back; ``reason`` goes to every run that is not done."""
        self._launcher.stop()
        for key in self._running:
            self._store.release(key)
        self._running = {}
        self._stopped = reason

    def tidy(self) -> None:
        """Drop stage two's weights of checkpoints that are there: a driver may have been killed before it came to that."""
        study = self.resolved.study
        for cell in self.resolved.cells:
            layers = selection(cell, study, self.results)
            for spec in cell_stages(cell, study, layers) if layers else ():
                if spec.kind is Kind.PRUNE and self.results.done(spec.key):
                    self._tidy(spec)

    def _needs(self) -> tuple[StageSpec, ...]:
        """The distinct stages that come next, a ranking as deep as the deepest cell wants it."""
        needs: dict[str, StageSpec] = {}
        for needed in next_stages(self.resolved, self.results):
            if needed.key in self._given_up:
                continue
            before = needs.get(needed.key)
            needs[needed.key] = needed if before is None else replace(needed, depth=max(needed.depth, before.depth))
        return tuple(needs.values())

    def _foreign_now(self) -> dict[str, str]:
        """Stages that another living driver was found to work on; believed for a while, then tried again."""
        now = self._clock()
        self._foreign = {key: seen for key, seen in self._foreign.items() if now - seen[1] < FOREIGN_RECHECK_S}
        return {key: name for key, (name, _) in self._foreign.items()}

    def _start(self, spec: StageSpec) -> bool:
        """False when another driver holds it."""
        if (other := self._store.claim(spec.key, self._owner)) is not None:
            name = f"another driver (process {other.pid} on {other.host})"
            self._foreign[spec.key] = name, self._clock()
            return False
        self.results.forget(spec.key)  # the other driver may have finished between our look and our claim
        if self._met(spec):
            self._store.release(spec.key)
            return True
        self._store.remove_orphans(spec.key)
        self._running[spec.key] = spec
        self._started[spec.key] = self._clock()
        self._launcher.start(StageTask(spec, self._store.uri, self._layout()))
        return True

    def _layout(self) -> Layout:
        engine = self.resolved.grid.engine
        return Layout(engine=EngineSettings() if engine == "auto" else engine)

    def _met(self, spec: StageSpec) -> bool:
        """Whether the store holds what the stage was started for."""
        if spec.kind is Kind.RANK:
            return len(self.results.order(spec.key)) >= spec.depth
        return self.results.done(spec.key)

    def _collect(self, finished: Finished) -> None:
        spec = self._running.pop(finished.key)
        self._store.release(finished.key)
        self.results.forget(finished.key)
        failure = finished.failure
        if failure is None and not self._met(spec):
            message = "the stage ended without an error, but its result is not in the store"
            failure = Failure("LostResult", message, FailureKind.LOST, when=time.time())
        if failure is None:
            self._tidy(spec)
            return
        if finished.key in self._timed_out:
            message = f"ran longer than {self._limit_s:g} s"
            failure = replace(failure, error="Timeout", message=message, kind=FailureKind.TIMEOUT, when=time.time())
            self._timed_out.discard(finished.key)
        if failure not in self._store.failures(finished.key):  # the stage's process did not live to record it
            self._store.record_failure(finished.key, failure)
        before = self._attempts.get(finished.key, Attempts())
        self._attempts[finished.key] = Attempts(before.failed + 1, f"{failure.error}: {failure.message}", not failure.final)

    def _tidy(self, spec: StageSpec) -> None:
        """Stage two's weights have served once the checkpoint made of them is whole."""
        if spec.kind is Kind.PRUNE and spec.reads and not self.resolved.grid.storage.keep_transfer_weights:
            self._store.drop_files(spec.reads[0])
            self.results.forget(spec.reads[0])

    @property
    def _limit_s(self) -> float:
        return self.resolved.grid.resources.timeout_s or float("inf")

    def _watch(self) -> None:
        """Renew our claims; end stages that run longer than they may."""
        now = self._clock()
        for key in self._running:
            if now - self._started[key] > self._limit_s and key not in self._timed_out:
                self._timed_out.add(key)
                self._launcher.cancel(key)
        if now - self._renewed >= RENEW_CLAIMS_S:
            self._renewed = now
            for key in self._running:
                self._store.renew(key, self._owner)


def _concluded(view: GridView) -> GridView:
    """RUNNING until every cell and reference is done or failed; a grid with a failed part has failed."""
    if any(part.status in (Status.RUNNING, Status.WAITING) for part in view.parts):
        return view
    failed = sum(part.status is Status.FAILED for part in view.parts)
    if not failed:
        return replace(view, status=Status.DONE)
    return replace(view, status=Status.FAILED, reason=f"{failed} of {len(view.parts)} failed")


def _killed(view: GridView, reason: str) -> GridView:
    """Everything that was not over is KILLED."""
    over = (Status.DONE, Status.FAILED)
    return replace(
        view,
        cells=tuple(c if c.status in over else replace(c, status=Status.KILLED, reason=reason) for c in view.cells),
        ranks=tuple(r if r.status in over else replace(r, status=Status.KILLED, reason=reason) for r in view.ranks),
        dense=tuple(d if d.status in over else replace(d, status=Status.KILLED, reason=reason) for d in view.dense),
        status=Status.KILLED,
        reason=reason,
    )
