"""Stages whose node is lost, or taken away with notice.

In this order, and after all other tests of gangs: each takes a node for good.
"""

import time
from dataclasses import replace

import pytest
import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from orchestrator.execution.run_stage import run_task
from orchestrator.ray_backend.ray_launcher import RayLauncher
from orchestrator.store.failures import FailureKind
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from tests.integration.gangs.gang_tasks import (
    ALONE,
    ENDLESS,
    STEPS,
    TWO_RANKS,
    GangTasks,
    failure_of_gang,
    finish,
    wait_for_step,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


def test_what_two_nodes_began_the_one_that_is_left_ends(
    cluster: Cluster, launcher: RayLauncher, tasks: GangTasks, undisturbed_tasks: GangTasks
) -> None:
    undisturbed = undisturbed_tasks.ranking(layout=ALONE)
    assert run_task(undisturbed) is None
    gang = tasks.ranking(layout=TWO_RANKS, attempt="first", snapshot_every_steps=5)
    launcher.start(gang)
    wait_for_step(launcher, gang, 5)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    # By which of its two errors Ray tells of it first is a matter of milliseconds.
    lost = (FailureKind.LOST, FailureKind.NODE_LOST)
    assert failure_of_gang(launcher, gang).kind in lost
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
    cluster: Cluster, launcher: RayLauncher, tasks: GangTasks
) -> None:
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
    assert failure_of_gang(launcher, task).kind is FailureKind.PREEMPTED
    assert StoreSnapshots(Store(task.store), task.spec.key).latest() is not None
