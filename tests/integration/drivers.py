"""Drivers as users start them: ``trsp run FILE`` in a process of its own, and what it leaves.

That is what lies in its store and in MLflow.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.grid.schema import load_grid
from orchestrator.run import view_offline
from orchestrator.stages.stage_specs import StageKind
from orchestrator.views.grid_view import GridView

RUN_TIMEOUT_S = 280
POLL_S = 0.1


def start(grid: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a driver on a local Ray of its own, with these variables in its environment."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"TRSP_HOME": str(grid.parent / "home"), **variables}
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", str(grid)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=grid.parent,
    )


def end(driver: subprocess.Popen[str], limit_s: float = RUN_TIMEOUT_S) -> str:
    """Wait for the driver's end, and return all that it printed."""
    try:
        return driver.communicate(timeout=limit_s)[0]
    except subprocess.TimeoutExpired:
        driver.kill()
        raise AssertionError(
            f"still running after {limit_s} s:\n{driver.communicate()[0]}"
        ) from None


def run(grid: Path) -> str:
    """Run a grid to its end, and return what was printed. It must succeed."""
    driver = start(grid)
    printed = end(driver)
    assert driver.returncode == 0, printed
    return printed


def wait_until(
    condition: Callable[[], Any], driver: subprocess.Popen[str], limit_s: float = 120
) -> Any:
    """Wait for the condition's first true answer, and return it.

    AssertionError when the driver ends or time runs out before.
    """
    deadline = time.monotonic() + limit_s
    while not (answer := condition()):
        if driver.poll() is not None or time.monotonic() > deadline:
            driver.kill()
            raise AssertionError(
                f"the driver (exit code {driver.poll()}) did not come to it:\n"
                f"{driver.communicate()[0]}"
            )
        time.sleep(POLL_S)
    return answer


def results(grid: Path, kind: str = "*") -> dict[str, int]:
    """Return when each result was written, in ns.

    The names are ``KEY`` for a finished stage and ``KEY/ROUND`` for a published round.
    """
    stages = grid.parent / "store" / "stages"
    done = {path.parent.name: path for path in stages.glob(f"{kind}/*/result.json")}
    done |= {
        f"{path.parents[1].name}/{path.stem}": path
        for path in stages.glob(f"{kind}/*/rounds/*.json")
    }
    return {
        name: path.stat().st_mtime_ns
        for name, path in done.items()
        if not path.name.startswith(".")
    }


def stage_process(driver: subprocess.Popen[str], kind: str = "") -> psutil.Process | None:
    """Return the process in which a stage of this kind, or of any, runs now."""
    kinds = [kind] if kind else list(StageKind)
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if any(f"ray::{each}-" in name for name in process.cmdline()[:1] for each in kinds):
                return process
        except psutil.Error:
            continue
    return None


def view(grid: Path) -> GridView:
    """Return the grid as its store knows it."""
    return view_offline(load_grid(grid))


def client(grid: Path) -> MlflowClient:
    """Connect to the grid's own MLflow."""
    return MlflowClient(f"sqlite:///{grid.parent}/mlflow.db")


def runs(grid: Path) -> dict[str, list[Run]]:
    """Return every MLflow run by its kind: grid, rank, dense, cell."""
    connected = client(grid)
    by_kind: dict[str, list[Run]] = {}
    for run_ in connected.search_runs([e.experiment_id for e in connected.search_experiments()]):
        by_kind.setdefault(run_.data.tags.get("trsp.kind", ""), []).append(run_)
    return by_kind


def run_counts(grid: Path) -> dict[str, int]:
    """Return how many MLflow runs there are of each kind."""
    return {kind: len(of_kind) for kind, of_kind in runs(grid).items()}


def all_statuses(grid: Path) -> set[str]:
    """Return the statuses that the MLflow runs of any kind have."""
    return set().union(*statuses(grid).values())


def statuses(grid: Path) -> dict[str, set[str]]:
    """Return the statuses that the MLflow runs of each kind have."""
    return {kind: {run_.info.status for run_ in of_kind} for kind, of_kind in runs(grid).items()}
