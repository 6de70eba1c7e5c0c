"""Other jobs on the same Ray: their room is not ours, and what waits for it is seen to wait."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ray

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.ray_backend.ray_launcher import RayLauncher
from orchestrator.scheduler.controller import Controller
from orchestrator.store.store import Store
from orchestrator.views.grid_view import Status
from tests.integration.gangs.gang_tasks import ENDLESS, TWO_RANKS, GangTasks, finish, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@ray.remote(num_cpus=1)
class Neighbour:
    """What holds a CPU for as long as it lives."""

    def here(self) -> bool:
        return True


@contextmanager
def neighbours(number: int) -> Iterator[None]:
    """Other people's processes, on so many CPUs."""
    there = [Neighbour.remote() for _ in range(number)]
    assert ray.get([each.here.remote() for each in there], timeout=60)
    try:
        yield
    finally:
        for each in there:
            ray.kill(each)


def free_cpus(launcher: RayLauncher) -> tuple[int, int]:
    """The CPUs that are there for us, and all that there are."""
    capacity: Capacity = launcher.capacity()
    return capacity.cpus, capacity.in_all.cpus


def test_a_grid_waits_for_another_job_and_starts_when_it_goes(
    launcher: RayLauncher, tasks: GangTasks
) -> None:
    selector = {"name": "gates", "steps_per_round": ENDLESS, "blocks_per_step": 2}
    resolved = tasks.grid(selectors=selector)
    controller = Controller(resolved, Store(resolved.grid.storage.store), launcher)

    def rankings() -> set[tuple[Status, str]]:
        view = controller.step(0.1)
        return {(ranking.status, ranking.reason) for ranking in view.rankings}

    with neighbours(2):
        wait_until(lambda: free_cpus(launcher) == (0, 2))
        for status, reason in rankings():
            assert status is Status.WAITING
            assert reason.endswith("; other jobs hold 2 of 2 CPUs")
        assert launcher.begun() == frozenset()
    wait_until(lambda: Status.RUNNING in dict(rankings()))
    wait_until(lambda: free_cpus(launcher) == (2, 2))
    for _ in range(30):  # over which Ray's figures catch up with what was started
        controller.step(0.1)
        assert free_cpus(launcher) == (2, 2), "none of ours is counted as somebody else's"
    controller.stop("enough")


def test_a_gang_that_ray_cannot_place_has_not_begun_and_can_be_cancelled(
    launcher: RayLauncher, tasks: GangTasks
) -> None:
    gang = tasks.transfer(ENDLESS, layout=TWO_RANKS)
    with neighbours(1):
        launcher.start(gang)
        for _ in range(8):
            assert launcher.poll(0.5) == ()
            assert launcher.begun() == frozenset()
        assert free_cpus(launcher) == (1, 2)
        launcher.cancel(gang.spec.key)
        failure = finish(launcher).failure
    assert failure is not None
    assert failure.error == "TaskCancelledError"


def test_two_launchers_are_each_others_neighbours(launcher: RayLauncher, tasks: GangTasks) -> None:
    other = RayLauncher(Resources())
    task = tasks.transfer(ENDLESS)
    launcher.start(task)
    wait_until(lambda: launcher.poll(0.2) == () and launcher.begun())
    wait_until(lambda: free_cpus(other) == (1, 2))
    wait_until(lambda: free_cpus(launcher) == (2, 2))  # its look, too, may be of a moment ago
    launcher.cancel(task.spec.key)
    finish(launcher)
