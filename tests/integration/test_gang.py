"""Stages on several ranks through the real Ray Train, on several nodes of one machine: results, losses, hangs, notices."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
from safetensors.torch import load_file

from orchestrator.execution.launcher import Finished
from orchestrator.execution.run_stage import StageTask, run_task
from orchestrator.grid.run_settings import Resources
from orchestrator.grid.schema import load_grid
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.ray_launcher import RayLauncher
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.stages.stage_specs import ranking_spec, transfer_spec
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from tests.tiny_grid import tiny_grid
from trsp.config import EngineSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

LAYERS = (1, 4)
STEPS, ENDLESS = 40, 100_000
ALONE = Layout(engine=EngineSettings(zero_stage=2))
TWO_RANKS = Layout(ranks=2, engine=EngineSettings(zero_stage=2))
SHARDED = Layout(ranks=2, engine=EngineSettings(zero_stage=3))
HEALTH_CHECK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


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


@dataclass(frozen=True)
class Tasks:
    """Stages of a tiny model, ``steps`` long, in a store of their own."""

    folder: Path
    model: Path
    text: Path

    def transfer(self, steps: int = STEPS, **changes: Any) -> StageTask:
        resolved = self._resolved(
            transfer={"name": "drift", "steps": steps, "blocks_per_step": 2, "learning_rate": 1e-3}
        )
        spec = transfer_spec(resolved.cells[0], resolved.study, LAYERS)
        assert spec is not None
        return replace(StageTask(spec, resolved.grid.storage.store), **changes)

    def rank(self, steps: int = STEPS, **changes: Any) -> StageTask:
        """Two rounds."""
        selector = {
            "name": "gates",
            "steps_per_round": steps // 2,
            "blocks_per_step": 2,
            "learning_rate": 0.03,
        }
        resolved = self._resolved(selectors=selector)
        return replace(
            StageTask(
                ranking_spec(resolved.cells[0], resolved.study, 2), resolved.grid.storage.store
            ),
            **changes,
        )

    def _resolved(self, **changes: Any) -> Resolved:
        return resolve(
            load_grid(tiny_grid(self.folder, self.model, self.text, **changes)), hardware="cpu"
        )


@pytest.fixture
def tasks(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Tasks:
    return Tasks(tmp_path, tiny_llama, text_file)


@pytest.fixture
def alone(tmp_path: Path, tiny_llama: Path, text_file: Path) -> Tasks:
    """In another store."""
    return Tasks(tmp_path / "alone", tiny_llama, text_file)


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
    assert Store(task.store).failures.history(task.spec.key)[-1] == ended.failure
    assert not Path(Store(task.store).stages.uri(task.spec.key), "ranks").exists()
    return ended.failure


def weights(task: StageTask) -> dict[str, torch.Tensor]:
    with Store(task.store).stages.local_files(task.spec.key) as folder:
        return load_file(folder / "model.safetensors")


def wait_until(condition: Callable[[], Any], limit_s: float = 60) -> Any:
    deadline = time.monotonic() + limit_s
    while not (answer := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return answer


def wait_for_step(launcher: RayLauncher, task: StageTask, step: int = 1) -> int:
    """Until a snapshot of that step, or a later one, is there."""
    deadline = time.monotonic() + 60
    while (
        latest := StoreSnapshots(Store(task.store), task.spec.key).latest()
    ) is None or latest.step < step:
        assert not (ended := launcher.poll(0.02)), ended
        assert time.monotonic() < deadline
    return latest.step


def rank_process(task: StageTask, rank: int) -> psutil.Process:
    """The one whose output goes to this rank's file."""
    output = Path(
        Store(task.store).stages.uri(task.spec.key),
        "ranks",
        f"{task.attempt}-{rank:05d}",
        "output.txt",
    )
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{process.pid}/fd/1") == str(output):
                return process
    raise AssertionError(f"nobody writes {output}")


def test_a_gang_gives_what_one_rank_gives_and_goes_on_after_a_rank_is_killed(
    launcher: RayLauncher, tasks: Tasks, alone: Tasks
) -> None:
    """The second attempt has other shares of the model, as one that follows an out-of-memory may have."""
    undisturbed = alone.transfer(layout=ALONE)
    assert run_task(undisturbed) is None
    gang = tasks.transfer(layout=TWO_RANKS, attempt="first", snapshot_every_steps=5)
    launcher.start(gang)
    assert wait_for_step(launcher, gang, 5) < STEPS
    rank_process(gang, 1).kill()
    failed = failure(launcher, gang)
    assert failed.kind is FailureKind.LOST
    assert 1 in failed.ranks[0].ranks, (
        "the one that was killed comes before those who lost their peer"
    )
    launcher.start(replace(gang, attempt="second", layout=SHARDED))
    assert finish(launcher).failure is None
    some, others = weights(gang), weights(undisturbed)
    assert some.keys() == others.keys()
    for name in some:
        torch.testing.assert_close(some[name], others[name], rtol=1e-5, atol=1e-6)
    assert not Path(Store(gang.store).stages.uri(gang.spec.key), "snapshots").exists()


def test_a_hung_rank_is_found_by_the_others(launcher: RayLauncher, tasks: Tasks) -> None:
    gang = tasks.transfer(ENDLESS, layout=TWO_RANKS, hang_timeout_s=4.0, snapshot_every_steps=5)
    launcher.start(gang)
    wait_for_step(launcher, gang)
    hung = rank_process(gang, 1)
    hung.suspend()
    failed = failure(launcher, gang)
    assert failed.kind is FailureKind.HUNG
    assert failed.message == "no step for 4 s"
    assert "all_reduce" in failed.ranks[0].tail, "the stacks say where it waited"
    hung.wait(10)  # it was ended, although it slept


def test_a_rank_that_is_told_to_go_takes_all_along_and_leaves_a_snapshot(
    launcher: RayLauncher, tasks: Tasks
) -> None:
    gang = tasks.transfer(ENDLESS, layout=TWO_RANKS, snapshot_every_steps=20)
    launcher.start(gang)
    wait_for_step(launcher, gang)
    rank_process(gang, 1).terminate()
    failed = failure(launcher, gang)
    assert failed.kind is FailureKind.PREEMPTED
    kept = StoreSnapshots(Store(gang.store), gang.spec.key).latest()
    assert kept is not None
    assert f"after step {kept.step}" in failed.message


def test_what_all_ranks_say_is_said_once(launcher: RayLauncher, tasks: Tasks) -> None:
    gang = tasks.transfer(1, layout=TWO_RANKS)
    nowhere = {
        **gang.spec.locations,
        "model": {"name": "x", "source": "/no/such/folder", "revision": None},
    }
    launcher.start(replace(gang, spec=replace(gang.spec, locations=nowhere)))
    failed = failure(launcher, gang)
    assert failed.final
    assert len(failed.ranks) == 1
    assert "/no/such/folder" in failed.message
    assert "Traceback" in failed.ranks[0].tail


def test_a_cancelled_gang_gives_back_all_that_it_had(launcher: RayLauncher, tasks: Tasks) -> None:
    gang = tasks.transfer(ENDLESS, layout=TWO_RANKS, snapshot_every_steps=5)
    launcher.start(gang)
    wait_for_step(launcher, gang)
    assert ray.available_resources().get("CPU", 0) == 0
    launcher.cancel(gang.spec.key)
    failed = finish(launcher, limit_s=15).failure
    assert failed is not None
    assert failed.error == "TaskCancelledError"
    wait_until(lambda: ray.available_resources().get("CPU", 0) == 2, limit_s=10)


def test_what_two_nodes_began_the_one_that_is_left_ends(
    cluster: Cluster, launcher: RayLauncher, tasks: Tasks, alone: Tasks
) -> None:
    undisturbed = alone.rank(layout=ALONE)
    assert run_task(undisturbed) is None
    gang = tasks.rank(layout=TWO_RANKS, attempt="first", snapshot_every_steps=5)
    launcher.start(gang)
    wait_for_step(launcher, gang, 5)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert failure(launcher, gang).kind is FailureKind.LOST
    assert launcher.capacity().cpus == 1
    launcher.start(replace(gang, attempt="second", layout=ALONE))
    assert finish(launcher).failure is None
    rounds, others = (
        Store(task.store).rankings.rounds(task.spec.key) for task in (gang, undisturbed)
    )
    assert len(rounds) == 2
    for one, other in zip(rounds, others, strict=True):
        assert one.layer == other.layer
        assert one.scores == pytest.approx(other.scores, rel=1e-5)
        assert len(one.gate_steps) == STEPS // 2


def test_a_node_that_is_taken_away_with_notice(
    cluster: Cluster, launcher: RayLauncher, tasks: Tasks
) -> None:
    """The last test: it leaves no node."""
    task = tasks.transfer(ENDLESS, snapshot_every_steps=20, layout=ALONE)
    launcher.start(task)
    wait_for_step(launcher, task)
    (node,) = (
        node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")
    )
    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    GcsClient(address=cluster.address).drain_node(
        node, reason, "a test", int((time.time() + 60) * 1000)
    )
    assert launcher.capacity().cpus == 0
    assert failure(launcher, task).kind is FailureKind.PREEMPTED
    assert StoreSnapshots(Store(task.store), task.spec.key).latest() is not None
