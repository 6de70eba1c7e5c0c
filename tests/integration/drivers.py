"""Drivers as users start them: ``trsp run FILE`` in a process of its own, and what it left in its store and in MLflow."""

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

RUN_TIMEOUT_S = 280
POLL_S = 0.1


def start(grid: Path) -> subprocess.Popen[str]:
    """A driver on a local Ray of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["TRSP_HOME"] = str(grid.parent / "home")
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", str(grid)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=grid.parent,
    )


def end(driver: subprocess.Popen[str], limit_s: float = RUN_TIMEOUT_S) -> str:
    """What it printed, to its end."""
    try:
        return driver.communicate(timeout=limit_s)[0]
    except subprocess.TimeoutExpired:
        driver.kill()
        raise AssertionError(
            f"still running after {limit_s} s:\n{driver.communicate()[0]}"
        ) from None


def run(grid: Path) -> str:
    """To its end; AssertionError with its output when that is not success."""
    driver = start(grid)
    printed = end(driver)
    assert driver.returncode == 0, printed
    return printed


def wait_until(
    condition: Callable[[], Any], driver: subprocess.Popen[str], limit_s: float = 120
) -> Any:
    """The first true answer; AssertionError when the driver ends or time runs out before it."""
    deadline = time.monotonic() + limit_s
    while not (answer := condition()):
        if driver.poll() is not None or time.monotonic() > deadline:
            driver.kill()
            raise AssertionError(
                f"the driver (exit code {driver.poll()}) did not come to it:\n{driver.communicate()[0]}"
            )
        time.sleep(POLL_S)
    return answer


def results(grid: Path, kind: str = "*") -> dict[str, int]:
    """``KEY`` of every finished stage (and ``KEY/ROUND`` of every published round) -> when it was written, in ns."""
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


def stage_process(driver: subprocess.Popen[str], kind: str) -> psutil.Process | None:
    """The process in which a stage of this kind runs now."""
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith(f"ray::{kind}-"):
                return process
        except psutil.Error:
            continue
    return None


def client(grid: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{grid.parent}/mlflow.db")


def runs(grid: Path) -> dict[str, list[Run]]:
    """Every MLflow run by its kind: grid, rank, dense, cell."""
    connected = client(grid)
    found: dict[str, list[Run]] = {}
    for run_ in connected.search_runs([e.experiment_id for e in connected.search_experiments()]):
        found.setdefault(run_.data.tags.get("trsp.kind", ""), []).append(run_)
    return found


def statuses(grid: Path) -> dict[str, set[str]]:
    return {kind: {run_.info.status for run_ in of_kind} for kind, of_kind in runs(grid).items()}
