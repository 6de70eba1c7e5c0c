"""Stages on several ranks through the real Ray Train, on several nodes of one machine: results, losses, hangs, notices."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from ray.cluster_utils import Cluster
from safetensors.torch import load_file

from orchestrator.failures import Failure, FailureKind
from orchestrator.grid import Resources, load_grid
from orchestrator.launcher import Finished
from orchestrator.layout import Layout
from orchestrator.ray_launcher import RayLauncher
from orchestrator.resolve import resolve
from orchestrator.run_stage import StageTask, run_task
from orchestrator.snapshots import StoreSnapshots
from orchestrator.stages import StageSpec, rank_spec, transfer_spec
from orchestrator.store import Store
from tests.grids import tiny_grid
from trsp.config import EngineSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

LAYERS = (1, 4)
TWO_RANKS = Layout(ranks=2, engine=EngineSettings(zero_stage=2))
HEALTH_CHECK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without CPUs and two nodes of one: a gang of two lies on both."""
    head = {"num_cpus": 0, "object_store_memory": 10**8, "_system_config": HEALTH_CHECK}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=10**8)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="WARNING")
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def launcher(cluster: Cluster) -> Iterator[RayLauncher]:
    launcher = RayLauncher(Resources())
    yield launcher
    launcher.stop()


Transfer = Callable[..., StageTask]


@pytest.fixture
def transfer(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Transfer:
    """Stage two of so many steps, in a store of its own."""

    def made(steps: int, name: str = "store", **changes: Any) -> StageTask:
        settings = {"name": "drift", "steps": steps, "blocks_per_step": 2, "learning_rate": 1e-3}
        grid = tiny_grid(tmp_path / name, tiny_llama, text_file, transfer=settings)
        resolved = resolve(load_grid(grid), hardware="cpu")
        spec = transfer_spec(resolved.cells[0], resolved.study, LAYERS)
        assert spec is not None
        return replace(StageTask(spec, resolved.grid.storage.store, TWO_RANKS), **changes)

    return made


def finish(launcher: RayLauncher, limit_s: float = 90) -> Finished:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if ended := launcher.poll(0.5):
            return ended[0]
    raise AssertionError(f"still running after {limit_s} s")


def failure(launcher: RayLauncher, task: StageTask) -> Failure:
    """What the only running stage ends with: also in the store, and nothing else is left there of its ranks."""
    ended = finish(launcher)
    assert ended.failure is not None
    assert Store(task.store).failures(task.spec.key)[-1] == ended.failure
    assert not Path(Store(task.store).stage_uri(task.spec.key), "ranks").exists()
    return ended.failure


def weights(task: StageTask) -> dict[str, torch.Tensor]:
    with Store(task.store).local_files(task.spec.key) as folder:
        return load_file(folder / "model.safetensors")


def wait_for_step(launcher: RayLauncher, task: StageTask, step: int = 1) -> int:
    """Until a snapshot of that step, or a later one, is there."""
    deadline = time.monotonic() + 60
    while (latest := StoreSnapshots(Store(task.store), task.spec.key).latest()) is None or latest.step < step:
        assert not (ended := launcher.poll(0.02)), ended
        assert time.monotonic() < deadline
    return latest.step


def process_of(task: StageTask, rank: int) -> psutil.Process:
    """The one whose output goes to this rank's file."""
    output = Path(Store(task.store).stage_uri(task.spec.key), "ranks", f"{task.attempt}-{rank:05d}", "output.txt")
    for process in psutil.process_iter():
        try:
            if os.readlink(f"/proc/{process.pid}/fd/1") == str(output):
                return process
        except OSError:
            continue
    raise AssertionError(f"nobody writes {output}")


def test_a_gang_gives_what_one_rank_gives_and_goes_on_after_a_rank_is_killed(launcher: RayLauncher, transfer: Transfer) -> None:
    alone = replace(transfer(40, "alone"), layout=Layout(engine=EngineSettings(zero_stage=2)))
    assert run_task(alone) is None
    gang = transfer(40, "gang", attempt="first", snapshot_every_steps=5)
    launcher.start(gang)
    step = wait_for_step(launcher, gang, 5)
    process_of(gang, 1).kill()
    failed = failure(launcher, gang)
    assert failed.kind is FailureKind.LOST
    assert 1 in failed.ranks[0].ranks
    assert step < 40
    launcher.start(replace(gang, attempt="second"))
    ended = finish(launcher)
    assert ended.failure is None
    one, other = weights(alone), weights(gang)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-5, atol=1e-6)
    assert not Path(Store(gang.store).stage_uri(gang.spec.key), "snapshots").exists()
