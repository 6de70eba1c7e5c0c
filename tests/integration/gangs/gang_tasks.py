"""Stages of a tiny model for gangs, and what the tests wait for and look at while these run."""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file

from orchestrator.execution.launcher import Finished
from orchestrator.execution.run_stage import StageTask
from orchestrator.grid.schema import load_grid
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.ray_launcher import RayLauncher
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.stages.stage_specs import ranking_spec, transfer_spec
from orchestrator.store.failures import Failure
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from tests.tiny_grid import tiny_grid
from trsp.config import EngineSettings

LAYERS = (1, 4)
STEPS, ENDLESS = 40, 100_000
LIMIT_S = 150.0  # for what is waited for: on a busy machine processes start slowly
ALONE = Layout(engine=EngineSettings(zero_stage=2))
TWO_RANKS = Layout(ranks=2, engine=EngineSettings(zero_stage=2))
SHARDED = Layout(ranks=2, engine=EngineSettings(zero_stage=3))


@dataclass(frozen=True)
class GangTasks:
    """Stages of a tiny model, ``steps`` long, in a store of their own."""

    folder: Path
    model: Path
    text: Path

    def transfer(self, steps: int = STEPS, **changes: Any) -> StageTask:
        resolved = self.grid(
            transfer={"name": "drift", "steps": steps, "blocks_per_step": 2, "learning_rate": 1e-3}
        )
        spec = transfer_spec(resolved.cells[0], resolved.study, LAYERS)
        assert spec is not None
        return replace(StageTask(spec, resolved.grid.storage.store), **changes)

    def ranking(self, steps: int = STEPS, **changes: Any) -> StageTask:
        """A ranking of two rounds."""
        selector = {
            "name": "gates",
            "steps_per_round": steps // 2,
            "blocks_per_step": 2,
            "learning_rate": 0.03,
        }
        resolved = self.grid(selectors=selector)
        spec = ranking_spec(resolved.cells[0], resolved.study, 2)
        return replace(StageTask(spec, resolved.grid.storage.store), **changes)

    def grid(self, **changes: Any) -> Resolved:
        """A small grid of the model, resolved."""
        grid = load_grid(tiny_grid(self.folder, self.model, self.text, **changes))
        return resolve(grid, hardware="cpu")


def finish(launcher: RayLauncher, limit_s: float = LIMIT_S) -> Finished:
    """Wait for the only running stage, and return how it ended."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if ended := launcher.poll(0.5):
            return ended[0]
    raise AssertionError(f"still running after {limit_s} s")


def failure_of_gang(launcher: RayLauncher, task: StageTask) -> Failure:
    """Wait for the only running stage, and return the failure that it ends with.

    It must be in the store, too, where nothing else may be left of its ranks.
    """
    ended = finish(launcher)
    assert ended.failure is not None
    recorded = Store(task.store).failures.history(task.spec.key)[-1]
    # Where a rank was that is gone without a word, only the launcher knows.
    assert recorded == replace(ended.failure, node=recorded.node)
    assert not Path(Store(task.store).stages.uri(task.spec.key), "ranks").exists()
    return ended.failure


def weights(task: StageTask) -> dict[str, torch.Tensor]:
    """Return the weights that a stage has committed."""
    with Store(task.store).stages.local_files(task.spec.key) as folder:
        return load_file(folder / "model.safetensors")


def wait_until(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Wait for the condition's first true answer, and return it."""
    deadline = time.monotonic() + limit_s
    while not (answer := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return answer


def wait_for_step(launcher: RayLauncher, task: StageTask, step: int = 1) -> int:
    """Wait until a snapshot of that step, or a later one, is there, and return its step."""
    snapshots = StoreSnapshots(Store(task.store), task.spec.key)
    deadline = time.monotonic() + LIMIT_S
    while (latest := snapshots.latest()) is None or latest.step < step:
        assert not (ended := launcher.poll(0.02)), ended
        assert time.monotonic() < deadline
    return latest.step


def rank_process(task: StageTask, rank: int) -> psutil.Process:
    """Return the process whose output goes to this rank's file."""
    folder = Path(Store(task.store).stages.uri(task.spec.key), "ranks")
    output = folder / f"{task.attempt}-{rank:05d}" / "output.txt"
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{process.pid}/fd/1") == str(output):
                return process
    raise AssertionError(f"nobody writes {output}")
