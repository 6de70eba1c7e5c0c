"""What a step of the driver costs on large grids: seconds, requests to the store, memory.

    python -m benchmarks.driver_scale [--cells 1000 --cells 5000] [--nodes 20 --nodes 200]
                                      [--delay-ms 0 --delay-ms 20] [--limit-s 600]

Nothing is computed: stages are ended by hand, and leave results that look true. Two models share
the cells, one of whose trainings takes two GPUs; all rankings and the first fifth of the cells are
done before the driver comes, every node has 8 GPUs. Measured are

- the first step: all from the controller's making to the end of its first step;
- a quiet step: nothing ended, and nothing more can start;
- a step in which 50 stages ended, up to where as many have taken their places;

each with the lines that the driver prints of it; MLflow and the model cards have their own threads.
A request is a call of ``StoreFiles`` or ``StoreFolder`` that touches the store; each is answered
after ``--delay-ms``. Each configuration runs in a process of its own, whose largest resident set is
its memory; one that takes longer than ``--limit-s`` is ended and shown as such.
"""

import argparse
import functools
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from itertools import product
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks.made_up_grid import finish, grid_of, seed
from orchestrator.execution.launcher import Finished, Heard
from orchestrator.execution.stage_task import StageTask
from orchestrator.layouts.capacity import Capacity
from orchestrator.report.standing.line_report import LineReport
from orchestrator.scheduler.controller import Controller
from orchestrator.store import files as store_files
from orchestrator.store.store import Store
from orchestrator.views.grid_view import GridView

ENDINGS = 50
QUIET_STEPS = 5
_GB = 10**9
# Calls that only compute, or hand on to one that is counted.
UNCOUNTED = {"address", "shown", "local_path", "folder", "write_json", "read_json"}


class Meter:
    """Counts requests to the store, each of which takes ``delay_s`` more."""

    def __init__(self, delay_s: float) -> None:
        self.requests = 0
        self.paused = False
        self._delay_s = delay_s
        self._local = threading.local()
        self._lock = threading.Lock()
        for owner in (store_files.StoreFiles, store_files.StoreFolder):
            for name, call in list(vars(owner).items()):
                if callable(call) and not name.startswith("_") and name not in UNCOUNTED:
                    setattr(owner, name, self._counted(call))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.paused or getattr(self._local, "inside", False):
                return call(*args, **kwargs)
            with self._lock:
                self.requests += 1
            time.sleep(self._delay_s)
            self._local.inside = True
            try:
                return call(*args, **kwargs)
            finally:
                self._local.inside = False

        return counted

    @contextmanager
    def off(self) -> Iterator[None]:
        """What happens in between is the stages' work, and not the driver's."""
        self.paused = True
        try:
            yield
        finally:
            self.paused = False


class MemoryLauncher:
    """Runs nothing: its stages end when they are told to."""

    measures_alone = False
    hands_over = True

    def __init__(self, nodes: int, meter: Meter) -> None:
        node = Capacity(64, 8, 1000 * _GB, 80 * _GB, gpu_type="H100")
        self._cluster = Capacity.of([node] * nodes)
        self._meter = meter
        self.running: dict[str, StageTask] = {}
        self._ended: list[str] = []

    def hardware(self) -> str:
        return "H100"

    def capacity(self) -> Capacity:
        return self._cluster

    def potential(self) -> Capacity:
        return self._cluster

    def request(self, layouts: Any) -> None:
        """Nothing can be asked for: all nodes are there."""

    def avoid(self, nodes: Any) -> None:
        """No node is worse than another here."""

    def begun(self) -> frozenset[str]:
        return frozenset(self.running)

    def heard(self) -> dict[str, Heard]:
        return {}

    def start(self, task: StageTask) -> None:
        self.running[task.spec.key] = task

    def end(self, number: int) -> None:
        """End the oldest processes that run, with results of all their stages."""
        with self._meter.off():
            for key in list(self.running)[:number]:
                first = self.running.pop(key)
                for task in (first, *first.then):
                    finish(Store(task.store), task.spec, task.ticket)
                    self._ended.append(task.spec.key)

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        ended, self._ended = self._ended, []
        return tuple(Finished(key, None) for key in ended)

    def cancel(self, key: str) -> None:
        """Nothing runs for too long here."""

    def stop(self) -> None:
        self.running = {}


@dataclass
class Told:
    """Those whom a driver tells of a view in its own thread."""

    report: LineReport
    last: GridView | None = None

    def tell(self, view: GridView) -> None:
        if view is self.last:
            return
        self.last = view
        self.report.show(view)


def measure(cells: int, nodes: int, delay_ms: float) -> str:
    """Return one line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        resolved = grid_of(cells, f"{folder}/store")
        seed(resolved)
        fresh = grid_of(cells, f"{folder}/store")  # with nothing looked up before
        meter = Meter(delay_ms / 1000)
        launcher = MemoryLauncher(nodes, meter)
        told = Told(LineReport(Console(file=StringIO())))

        def timed(work: Callable[[], GridView]) -> tuple[float, int]:
            requests, begun = meter.requests, time.perf_counter()
            told.tell(work())
            return time.perf_counter() - begun, meter.requests - requests

        controllers: list[Controller] = []

        def first() -> GridView:
            controllers.append(Controller(fresh, Store(fresh.grid.storage.store), launcher))
            controllers[0].tidy()
            controllers[0].view()
            return controllers[0].step()

        figures = [timed(first)]
        started = len(launcher.running)
        controller = controllers[0]
        while _grows(controller, launcher):
            pass
        quiet = [timed(controller.step) for _ in range(QUIET_STEPS)]
        figures.append((median(s for s, _ in quiet), max(requests for _, requests in quiet)))
        launcher.end(ENDINGS)
        figures.append(timed(controller.step))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        shown = "".join(f" | {seconds:8.2f} s {requests:6}" for seconds, requests in figures)
        return f"{shown} | {memory:5.0f} MB | {started}, {len(launcher.running)}"


def _grows(controller: Controller, launcher: MemoryLauncher) -> bool:
    before = len(launcher.running)
    controller.step()
    return len(launcher.running) > before


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", type=int, action="append")
    parser.add_argument("--nodes", type=int, action="append")
    parser.add_argument("--delay-ms", type=float, action="append")
    parser.add_argument("--limit-s", type=float, default=600)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    configurations = product(
        asked.cells or [1000, 5000], asked.nodes or [20, 200], asked.delay_ms or [0, 20]
    )
    if asked.alone:
        print(measure(*next(configurations)))
        return
    print("cells nodes delay |      first step    |     quiet step    |  50 stages ended  | memory")
    for cells, nodes, delay_ms in configurations:
        command = [sys.executable, "-m", "benchmarks.driver_scale", "--alone"]
        command += [f"--cells={cells}", f"--nodes={nodes}", f"--delay-ms={delay_ms}"]
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=asked.limit_s, check=True
            )
            row = run.stdout.strip("\n")
        except subprocess.TimeoutExpired:
            row = f" | more than {asked.limit_s:g} s"
        except subprocess.CalledProcessError as error:
            raise SystemExit(error.stderr) from error
        print(f"{cells:5} {nodes:5} {delay_ms:5g}{row}", flush=True)


if __name__ == "__main__":
    main()
