"""Stages on several ranks through the real Ray Train: results, lost and hung ranks, cancelling."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch

from orchestrator.execution.run_stage import run_task
from orchestrator.ray_backend.ray_launcher import RayLauncher
from orchestrator.store.failures import FailureKind
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from tests.integration.gangs.gang_tasks import (
    ALONE,
    ENDLESS,
    SHARDED,
    STEPS,
    TWO_RANKS,
    GangTasks,
    failure_of_gang,
    finish,
    rank_process,
    wait_for_step,
    wait_until,
    weights,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


def test_a_gang_gives_what_one_rank_gives_and_goes_on_after_a_rank_is_killed(
    launcher: RayLauncher, tasks: GangTasks, undisturbed_tasks: GangTasks
) -> None:
    """The second attempt has other shares of the model, as one after an out-of-memory may have."""
    undisturbed = undisturbed_tasks.transfer(layout=ALONE)
    assert run_task(undisturbed) is None
    gang = tasks.transfer(layout=TWO_RANKS, attempt="first", snapshot_every_steps=5)
    launcher.start(gang)
    assert wait_for_step(launcher, gang, 5) < STEPS
    rank_process(gang, 1).kill()
    failed = failure_of_gang(launcher, gang)
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


def test_nothing_is_started_on_a_node_that_is_avoided_and_a_failure_names_its_node(
    launcher: RayLauncher, tasks: GangTasks
) -> None:
    bad, good = sorted(node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU"))
    launcher.avoid([bad])
    assert launcher.capacity().cpus == 1
    task = tasks.transfer(layout=ALONE)
    task.spec.locations["model"]["source"] = "/no/such/model"
    launcher.start(task)
    failed = failure_of_gang(launcher, task)
    assert (failed.kind, failed.node.id) == (FailureKind.BAD_INPUT, good)
    launcher.avoid([])
    assert launcher.capacity().cpus == 2


def test_a_hung_rank_is_found_by_the_others(launcher: RayLauncher, tasks: GangTasks) -> None:
    gang = tasks.transfer(ENDLESS, layout=TWO_RANKS, hang_timeout_s=4.0, snapshot_every_steps=5)
    launcher.start(gang)
    wait_for_step(launcher, gang)
    hung = rank_process(gang, 1)
    hung.suspend()
    failed = failure_of_gang(launcher, gang)
    assert failed.kind is FailureKind.HUNG
    assert failed.message == "no step for 4 s"
    waited = r"trsp/(engine|training)/.*(torch/distributed|deepspeed)/"  # any collective of a step
    assert re.search(waited, failed.ranks[0].tail, re.S), "the stacks say where it waited"
    hung.wait(10)  # it was ended, although it slept


def test_a_rank_that_is_told_to_go_takes_all_along_and_leaves_a_snapshot(
    launcher: RayLauncher, tasks: GangTasks
) -> None:
    gang = tasks.transfer(ENDLESS, layout=TWO_RANKS, snapshot_every_steps=20)
    launcher.start(gang)
    wait_for_step(launcher, gang)
    rank_process(gang, 1).terminate()
    failed = failure_of_gang(launcher, gang)
    assert failed.kind is FailureKind.PREEMPTED
    kept = StoreSnapshots(Store(gang.store), gang.spec.key).latest()
    assert kept is not None
    assert f"after step {kept.step}" in failed.message


def test_what_all_ranks_say_is_said_once(launcher: RayLauncher, tasks: GangTasks) -> None:
    gang = tasks.transfer(1, layout=TWO_RANKS)
    nowhere = {
        **gang.spec.locations,
        "model": {"name": "x", "source": "/no/such/folder", "revision": None},
    }
    launcher.start(replace(gang, spec=replace(gang.spec, locations=nowhere)))
    failed = failure_of_gang(launcher, gang)
    assert failed.kind is FailureKind.BAD_INPUT
    assert len(failed.ranks) == 1
    assert "/no/such/folder" in failed.message
    assert "Traceback" in failed.ranks[0].tail


def test_a_cancelled_gang_gives_back_all_that_it_had(
    launcher: RayLauncher, tasks: GangTasks
) -> None:
    gang = tasks.transfer(ENDLESS, layout=TWO_RANKS, snapshot_every_steps=5)
    launcher.start(gang)
    wait_for_step(launcher, gang)
    assert ray.available_resources().get("CPU", 0) == 0
    wait_until(lambda: launcher.begun() and launcher.heard()[gang.spec.key].progress)
    assert launcher.heard()[gang.spec.key].progress.startswith("step ")
    assert launcher.heard()[gang.spec.key].where.startswith("2 ranks")
    assert launcher.begun() == {gang.spec.key}
    assert launcher.capacity().cpus == 2, "what its ranks hold is not somebody else's"
    launcher.cancel(gang.spec.key)
    failed = finish(launcher).failure
    assert failed is not None
    assert failed.error == "TaskCancelledError"
    wait_until(lambda: ray.available_resources().get("CPU", 0) == 2)
