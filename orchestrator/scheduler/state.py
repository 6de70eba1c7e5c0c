"""What a driver remembers of its grid's stages: which run, what was attempted, why others wait.

Knows no store or launcher: times are given to it, in seconds on the controller's clock.
The next driver needs nothing of it.
"""

import time
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from orchestrator.coordination.news import Work
from orchestrator.execution.launcher import Heard
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.workload import Trains, work_of
from orchestrator.scheduler.attempt import Attempt, note_on
from orchestrator.scheduler.chains.turns import Turns, turns_of
from orchestrator.scheduler.faults.avoidance import Avoidance
from orchestrator.scheduler.placement.waiting import has_quiet_node, not_placed
from orchestrator.scheduler.policy import Running, distinct_needs
from orchestrator.scheduler.retries import Attempts, after_failure
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.failures import Failure
from orchestrator.views.build import Activity


class Needs:
    """The distinct stages to decide about, made anew only where they have changed."""

    def __init__(self) -> None:
        self._of: tuple[tuple[StageSpec, ...], int] = (), 0
        self._distinct: tuple[StageSpec, ...] = ()

    def of(
        self, needed: tuple[StageSpec, ...], given_up: Mapping[str, str]
    ) -> tuple[StageSpec, ...]:
        """Return ``needed`` once each, but for those given up, which only become more."""
        if needed is not self._of[0] or len(given_up) != self._of[1]:
            self._of = needed, len(given_up)
            self._distinct = distinct_needs(spec for spec in needed if spec.key not in given_up)
        return self._distinct


class SchedulerState:
    """The stages of one grid as one driver knows them, by key."""

    def __init__(self) -> None:
        self.running: dict[str, Attempt] = {}  # in order of start
        self.attempts: dict[str, Attempts] = {}  # of stages that have failed
        self.given_up: dict[str, str] = {}  # why
        self.cancelled: dict[str, str] = {}  # why, by the keys of cells
        self.waits: dict[str, str] = {}  # for what, as last decided
        self.capacity = Capacity(cpus=0)  # as last seen
        self.largest_capacity = Capacity(cpus=0)  # with what other jobs hold
        self._busy_since: float | None = None  # no node has been without other jobs; None: one is
        self.avoidance = Avoidance()
        self._backing_off: dict[str, tuple[float, str]] = {}  # until when, and what is said of it

    def see_capacity(self, capacity: Capacity, potential: Capacity | None = None) -> None:
        """Remember what there is for us, and the largest that the cluster was or can become.

        Lost nodes may come back, and others' jobs end. Of equal ones the last is remembered, of
        which more may be known by now.
        """
        self.capacity = capacity
        self.largest_capacity = max(
            *(each.in_all for each in (potential, capacity) if each is not None),
            self.largest_capacity,
            key=lambda each: (each.gpus, each.cpus),
        )

    def waits_for_quiet(self, now: float, limit_s: float) -> bool:
        """Whether measurements wait for a node without other jobs: until none was for so long."""
        if has_quiet_node(self.capacity):
            self._busy_since = None
        elif self._busy_since is None:
            self._busy_since = now
        return self._busy_since is None or now - self._busy_since < limit_s

    def attempts_at(self, key: str) -> Attempts:
        """Return what was attempted so far; of a stage that has not failed, nothing."""
        return self.attempts.get(key, Attempts())

    def count_failure(
        self,
        spec: StageSpec,
        failure: Failure,
        *,
        progressed: bool = False,
        climbed: bool = False,
        now: float = 0.0,
    ) -> bool:
        """Count an attempt that failed at the time ``now`` (see ``after_failure``).

        Return whether the next attempt begins anew, without the snapshots of this one.
        """
        aftermath = after_failure(
            self.attempts_at(spec.key),
            failure,
            progressed=progressed,
            climbed=climbed,
            trains=work_of(spec).trains is not Trains.NOTHING,
        )
        self.avoidance.see(spec.key, failure, now)
        attempts = aftermath.attempts
        if attempts != Attempts():
            self.attempts[spec.key] = attempts
        if attempts.wait_s:
            wait_s = attempts.wait_s * _spread(f"{spec.key} {attempts.uncounted}")
            text = f"waits {wait_s:.0f} s after: {attempts.message}"
            self._backing_off[spec.key] = now + wait_s, text
        return aftermath.restarts

    def forgive(self, keys: Iterable[str]) -> None:
        """Forget that these stages have failed: they are tried again as if they never had."""
        for key in keys:
            for known in (self.attempts, self.given_up, self._backing_off):
                known.pop(key, None)

    def unwanted(self, keys: Collection[str]) -> tuple[str, ...]:
        """Mark the running attempts at these stages as unwanted; return the keys newly marked."""
        newly = [key for key, each in self.running.items() if key in keys and not each.unwanted]
        for key in newly:
            self.running[key] = replace(self.running[key], unwanted=True)
        return tuple(newly)

    def backing_off(self, now: float) -> dict[str, str]:
        """Return what is said of the stages whose next attempt is still to wait, by key."""
        self._backing_off = {key: each for key, each in self._backing_off.items() if each[0] > now}
        return {key: text for key, (_, text) in self._backing_off.items()}

    def see_begun(self, keys: frozenset[str], now: float) -> None:
        """Remember that these of the running attempts compute."""
        for key, attempt in self.running.items():
            if attempt.began is None and key in keys:
                self.running[key] = replace(attempt, began=now)

    def time_out(self, now: float, limit_s: float, device_wait_s: float = 0.0) -> tuple[str, ...]:
        """Mark the attempts that compute longer than ``limit_s``; return the keys newly marked.

        A measurement may wait for its device as long as ``device_wait_s`` on top, for it does so
        after it began.
        """
        waits = {StageKind.MEASURE: device_wait_s}
        passed_to = self._turns().passed_to
        overdue = tuple(
            key
            for key, attempt in self.running.items()
            if attempt.began is not None
            and key not in passed_to
            and now - attempt.began > limit_s + waits.get(attempt.spec.kind, 0.0)
            and not attempt.timed_out
        )
        for key in overdue:
            self.running[key] = replace(self.running[key], timed_out=True)
        return overdue

    def pass_on(self, ended: Attempt, now: float) -> None:
        """Remember that a stage has done its work: the next one in its process computes from now.

        ``ended`` is one of the running attempts no longer.
        """
        for key, attempt in self.running.items():
            if ended.chain and attempt.chain == ended.chain:
                self.see_begun(frozenset({key}), now)
                return

    def running_facts(
        self, now: float, seconds: Mapping[str, float], after: Mapping[str, float]
    ) -> dict[str, Running]:
        """Return what runs, in order of start, as the policy takes it: once for each process.

        ``seconds``: that are expected of stages, by key; ``after``: of all that follows as well,
        as it does in a process of several.
        """
        hidden = self._turns().hidden
        return {
            key: Running(
                attempt.spec.kind,
                attempt.room,
                attempt.began is not None,
                attempt.left_s(now, (after if attempt.chain else seconds).get(key)),
            )
            for key, attempt in self.running.items()
            if key not in hidden
        }

    def undecided(self, needs: tuple[StageSpec, ...]) -> tuple[StageSpec, ...]:
        """Return ``needs`` without those that wait for their turn in a process, or had it there."""
        hidden = self._turns().hidden
        return tuple(spec for spec in needs if spec.key not in hidden) if hidden else needs

    def _turns(self) -> Turns:
        return turns_of(self.running)

    def working(
        self, heard: Mapping[str, Heard], now: float, wall: Callable[[], float] = time.time
    ) -> dict[str, Work]:
        """Return the stages that compute, in order of start, with what was ``heard`` of them.

        ``wall`` gives seconds since the epoch, as ``now`` is on the controller's clock.
        """
        passed_to, ahead = self._turns().passed_to, wall() - now
        silent = Heard()
        return {
            key: Work(ahead + attempt.began, said.progress, said.where)
            for key, attempt in self.running.items()
            if attempt.began is not None and key not in passed_to
            for said in (heard.get(key, silent),)
        }

    def activity(self) -> Activity:
        """Return what this driver does now, as views show it."""
        turns = self._turns()
        notes = {
            key: note_on(attempt, self.attempts.get(key), turns.passed_to.get(key))
            for key, attempt in self.running.items()
        }
        return Activity(
            running={
                key: attempt.spec.kind
                for key, attempt in self.running.items()
                if attempt.began is not None
            },
            waits=self.waits | self._not_begun(notes, turns),
            given_up=self.given_up,
            cancelled=self.cancelled,
            notes=notes,
            live=True,
        )

    def _not_begun(self, notes: Mapping[str, str], turns: Turns) -> dict[str, str]:
        """Return what those attempts wait for that were started and have not begun, and a note."""
        return {
            key: "; ".join(filter(None, (self._waits_for(key, attempt, turns), notes[key])))
            for key, attempt in self.running.items()
            if attempt.began is None
        }

    def _waits_for(self, key: str, attempt: Attempt, turns: Turns) -> str:
        """Return what an attempt waits for that was started: its turn, or a place in Ray."""
        if key in turns.behind:
            return f"waits for its turn behind {turns.behind[key]}"
        return not_placed(attempt.room, self.capacity)


def _spread(text: str) -> float:
    """Return a factor from 0.75 to 1.25 by which waits differ, the same one for the same text.

    Stages that one outage has ended do not all begin again at one instant.
    """
    return 0.75 + 0.5 * zlib.crc32(text.encode()) / 2**32
