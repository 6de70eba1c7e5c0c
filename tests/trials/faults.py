"""The faults of a trial: each is made at once, and undone some seconds later where it can be."""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from tests.trials.supervised import SupervisedDriver
from tests.trials.world import World, stage_processes

REFUSAL_S = 5.0  # of the S3 server
ABSENCE_S = 4.0  # of an MLflow server, or a node, until it is started again
CLOCK_AHEAD_S = 120.0


@dataclass
class Outage:
    """A time during which something was away."""

    what: str  # "S3", "MLflow"
    since: float  # seconds of the monotonic clock
    until: float = float("inf")


@dataclass
class Faults:
    """Makes random faults in a world. ``pause_s``: how long a driver that is paused stays so."""

    world: World
    rng: random.Random
    pause_s: float
    made: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)
    _pending: list[tuple[float, Callable[[], bool]]] = field(default_factory=list)
    _deck: list[str] = field(default_factory=list)  # kinds that come before any comes again

    def make(self, drivers: Sequence[SupervisedDriver]) -> str:
        """Make one fault, of a kind that can be made now. Return what was done, for people.

        It is empty where none can be made. All kinds come equally often, as far as they can.
        """
        return self._make_of_deck(drivers) or self._make_of_new_deck(drivers)

    def _make_of_new_deck(self, drivers: Sequence[SupervisedDriver]) -> str:
        """Put those kinds that have come behind those that have not, and make one of any."""
        come = [kind for kind in _KINDS if kind not in self._deck]
        self.rng.shuffle(come)
        self._deck += come
        return self._make_of_deck(drivers)

    def _make_of_deck(self, drivers: Sequence[SupervisedDriver]) -> str:
        for kind in self._deck:
            if done := _KINDS[kind](self, [driver for driver in drivers if driver.runs]):
                self._deck.remove(kind)
                self.made[kind] += 1
                return done
        return ""

    def undo_due(self) -> None:
        """Undo the faults whose time is over."""
        now = time.monotonic()
        due = [undo for when, undo in self._pending if when <= now]
        self._pending = [(when, undo) for when, undo in self._pending if when > now]
        for undo in due:
            if not undo():
                self._pending.append((now, undo))

    def undo_all(self) -> None:
        """Wait until every fault is undone."""
        while self._pending:
            self.undo_due()
            time.sleep(0.2)

    def was_away(self, what: str, since: float, until: float) -> bool:
        """Whether something was away within this time."""
        return any(
            outage.what == what and outage.since <= until and outage.until >= since
            for outage in self.outages
        )

    # --- the kinds: each returns what was done, or "" where it cannot be done now ---

    def _kill_driver(self, drivers: Sequence[SupervisedDriver]) -> str:
        if not drivers:
            return ""
        driver = self.rng.choice(drivers)
        driver.kill()
        return f"driver {driver.number} is killed"

    def _kill_driver_clock_ahead(self, drivers: Sequence[SupervisedDriver]) -> str:
        if not drivers:
            return ""
        driver = self.rng.choice(drivers)
        driver.clock_ahead_s = CLOCK_AHEAD_S
        driver.kill()
        return f"driver {driver.number} is killed; the next has its clock {CLOCK_AHEAD_S:g} s ahead"

    def _pause_driver(self, drivers: Sequence[SupervisedDriver]) -> str:
        if not drivers:
            return ""
        driver = self.rng.choice(drivers)
        driver.pause()

        def resume() -> bool:
            driver.resume()
            return True

        self._later(self.pause_s, resume)
        return f"driver {driver.number} is stopped for {self.pause_s:g} s"

    def _kill_worker(self, drivers: Sequence[SupervisedDriver]) -> str:
        processes = stage_processes()
        if not processes:
            return ""
        with suppress(psutil.Error):
            process = self.rng.choice(processes)
            name = process.name()
            process.kill()
            return f"{name} is killed"
        return ""

    def _lose_node(self, drivers: Sequence[SupervisedDriver]) -> str:
        if not self.world.nodes.lose(self.rng):
            return ""
        outage = self._begins("a node")

        def replace() -> bool:
            if self.world.nodes.add():
                outage.until = time.monotonic()
            return outage.until < float("inf")

        self._later(ABSENCE_S, replace)
        return "the raylet of a node is killed"

    def _kill_tracking(self, drivers: Sequence[SupervisedDriver]) -> str:
        if not self.world.tracking.is_there():
            return ""
        self.world.tracking.kill()
        outage = self._begins("MLflow")

        def restart() -> bool:
            self.world.tracking.start()
            self._later(0, lambda: self._is_back(outage))
            return True

        self._later(ABSENCE_S, restart)
        return "the MLflow server is killed"

    def _is_back(self, outage: Outage) -> bool:
        if self.world.tracking.is_there():
            outage.until = time.monotonic()
        return outage.until < float("inf")

    def _refuse_s3(self, drivers: Sequence[SupervisedDriver]) -> str:
        if any(outage.what == "S3" and outage.until == float("inf") for outage in self.outages):
            return ""
        self.world.s3.refuse()
        outage = self._begins("S3")

        def answer() -> bool:
            self.world.s3.answer()
            outage.until = time.monotonic()
            return True

        self._later(REFUSAL_S, answer)
        return f"S3 refuses for {REFUSAL_S:g} s"

    def _begins(self, what: str) -> Outage:
        outage = Outage(what, time.monotonic())
        self.outages.append(outage)
        return outage

    def _later(self, seconds: float, undo: Callable[[], bool]) -> None:
        """Call ``undo`` in so many seconds, and again until it returns True."""
        self._pending.append((time.monotonic() + seconds, undo))


_KINDS: dict[str, Callable[[Faults, Sequence[SupervisedDriver]], str]] = {
    "driver killed": Faults._kill_driver,
    "driver's clock ahead": Faults._kill_driver_clock_ahead,
    "driver stopped and continued": Faults._pause_driver,
    "worker killed": Faults._kill_worker,
    "raylet killed": Faults._lose_node,
    "MLflow server killed": Faults._kill_tracking,
    "S3 refuses": Faults._refuse_s3,
}
