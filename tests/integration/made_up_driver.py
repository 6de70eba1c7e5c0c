"""A real driver in a process of its own, whose stages are made up: they only take time.

    python -m tests.integration.made_up_driver STORE TRACKING_URI LOG SECONDS DRIVERS

LOG gets a line for each stage that is begun and for each that has left its result:
``begun KEY PID``, ``done KEY PID``. Each stage takes SECONDS. The first ones begin when so many
DRIVERS have said in LOG that they are there (``there - PID``): else one that was slow to load, or
to reach MLflow, finds all done.
"""

import os
import sys
import threading
import time
from pathlib import Path

from orchestrator.driver import Driver
from orchestrator.execution.launcher import Finished, InProcessLauncher
from orchestrator.execution.run_stage import StageTask
from orchestrator.layouts.capacity import Capacity
from orchestrator.report.printing import console
from orchestrator.stages.resolve import Resolved
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure
from orchestrator.store.store import Store
from tests.orchestrator.fake_launcher import finish, resolved

CPUS = 2  # of each driver: so many of its stages at once
LIMIT_S = 120.0  # for all drivers to be there


class TimedLauncher(InProcessLauncher):
    """Runs each stage in a thread, in which it sleeps and then leaves a result that looks true."""

    measures_alone = False
    hands_over = False

    def __init__(self, log: Path, seconds: float, drivers: int) -> None:
        super().__init__(Capacity(cpus=CPUS))
        self._log, self._seconds, self._drivers = log, seconds, drivers
        self._ended: list[Finished] = []

    def hardware(self) -> str:
        return "cpu"

    def capacity(self) -> Capacity:
        """Return it as soon as all drivers are there: each asks before it starts anything."""
        wait_for_others(self._log, self._drivers)
        self._drivers = 0
        return super().capacity()

    def start(self, task: StageTask) -> None:
        self._note("begun", task)
        threading.Thread(target=self._run, args=(task,), daemon=True).start()

    def _run(self, task: StageTask) -> None:
        failure: Failure | None = None
        time.sleep(self._seconds)
        try:
            finish(task)
            self._note("done", task)
        except Exception as error:
            failure = failure_of(error)
        self._ended.append(Finished(task.spec.key, failure))

    def _note(self, what: str, task: StageTask) -> None:
        write_line(self._log, what, task.spec.key)

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        deadline = time.monotonic() + wait_s
        while not self._ended and time.monotonic() < deadline:
            time.sleep(0.01)
        ended, self._ended = tuple(self._ended), []
        return ended


def write_line(log: Path, what: str, key: str) -> None:
    """Add a line to a log to which several processes write."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{what} {key} {os.getpid()}\n")


def wait_for_others(log: Path, drivers: int) -> None:
    """Say that this driver is there, and wait until so many are; AssertionError after LIMIT_S.

    Nothing happens for 0.
    """
    if not drivers:
        return
    write_line(log, "there", "-")
    deadline = time.monotonic() + LIMIT_S
    while log.read_text(encoding="utf-8").count("there -") < drivers:
        assert time.monotonic() < deadline, "the other drivers do not come"
        time.sleep(0.01)


def made_up_grid(store: str, tracking_uri: str) -> Resolved:
    """The grid that every such driver runs: six cells of a model that need not exist."""
    return resolved(
        Path("/nowhere"),
        ratios=[0.2, 0.3, 0.5],
        storage={"store": store},
        tracking={"uri": tracking_uri, "experiment": "made up"},
        budgets=[],
    )


if __name__ == "__main__":
    grid = made_up_grid(sys.argv[1], sys.argv[2])
    log = Path(sys.argv[3])
    launcher = TimedLauncher(log, float(sys.argv[4]), int(sys.argv[5]))
    sys.exit(Driver(grid, Store(sys.argv[1]), launcher, console()).run())
