"""A stage of one rank computes beside Ray's worker: what that has to do with either one's end."""

import signal
from dataclasses import replace

import psutil
import pytest

from orchestrator.ray_backend.ray_launcher import RayLauncher
from orchestrator.store.failures import FailureKind
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from tests.integration.gangs.gang_tasks import (
    ALONE,
    ENDLESS,
    GangTasks,
    failure_of_gang,
    finish,
    rank_process,
    wait_for_step,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


def worker_of(task_key: str) -> psutil.Process:
    """Return Ray's worker that sees to the stage."""
    for process in psutil.process_iter(["cmdline"]):
        if f"ray::{task_key}" in " ".join(process.info["cmdline"] or ()):
            return process
    raise AssertionError(f"no worker for {task_key}")


def test_a_stage_that_crashes_says_by_which_signal_and_where_and_its_worker_lives_on(
    launcher: RayLauncher, tasks: GangTasks
) -> None:
    task = tasks.transfer(ENDLESS, layout=ALONE, snapshot_every_steps=5)
    launcher.start(task)
    wait_for_step(launcher, task)
    worker, own = worker_of(task.spec.key), rank_process(task, 0)
    assert worker.pid not in (own.pid, own.ppid())
    own.send_signal(signal.SIGSEGV)
    failed = failure_of_gang(launcher, task)
    assert (failed.kind, failed.message) == (
        FailureKind.LOST,
        "its process was ended by SIGSEGV",
    )
    assert "Fatal Python error" in failed.details
    assert failed.node
    assert worker.is_running()


def test_a_notice_to_the_worker_reaches_the_stage_which_leaves_a_snapshot(
    launcher: RayLauncher, tasks: GangTasks
) -> None:
    task = tasks.transfer(ENDLESS, layout=ALONE, snapshot_every_steps=50)
    launcher.start(task)
    step, own = wait_for_step(launcher, task), rank_process(task, 0)
    worker_of(task.spec.key).terminate()
    ended = finish(launcher)
    assert ended.failure is not None
    assert ended.failure.kind is FailureKind.PREEMPTED
    latest = StoreSnapshots(Store(task.store), task.spec.key).latest()
    assert latest is not None
    assert latest.step > step
    wait_until(lambda: not own.is_running())


def test_a_stage_that_is_cancelled_is_gone_with_its_worker(
    launcher: RayLauncher, tasks: GangTasks
) -> None:
    task = replace(tasks.transfer(ENDLESS, layout=ALONE), snapshot_every_steps=5)
    launcher.start(task)
    wait_for_step(launcher, task)
    own = rank_process(task, 0)
    launcher.cancel(task.spec.key)
    assert finish(launcher).failure is not None
    wait_until(lambda: not own.is_running())
