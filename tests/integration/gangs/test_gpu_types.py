"""A real Ray whose nodes declare GPUs of two types: parts and types go where we think they go."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from orchestrator.execution.run_stage import StageTask
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import FreeCapacity
from orchestrator.layouts.kinds import gpu_types
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.ray_launcher import RayLauncher
from orchestrator.ray_backend.visible_gpus import hide_gpus_of_others
from tests.integration.gangs.gang_tasks import LIMIT_S, GangTasks, finish, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
HALF_H100 = {"num_gpus": 0.5, "accelerator_type": "H100"}


@pytest.fixture(scope="module")
def gpu_nodes(cluster: Cluster) -> Iterator[None]:
    """A node of two H100 and one of one A10G, none of which is there for torch."""
    nodes = [
        cluster.add_node(
            num_cpus=4,
            num_gpus=gpus,
            resources={f"accelerator_type:{gpu_type}": 1},
            object_store_memory=10**8,
        )
        for gpu_type, gpus in (("H100", 2), ("A10G", 1))
    ]
    yield
    for node in nodes:
        cluster.remove_node(node)


@pytest.fixture
def with_gpus(gpu_nodes: None) -> Iterator[RayLauncher]:
    launcher = RayLauncher(Resources(use_gpus=True))
    yield launcher
    launcher.stop()


@ray.remote(max_calls=1)
def place(until: Path | None = None) -> tuple[str, str]:
    """Return the node and the GPUs that a process of ours sees, once this file is there."""
    hide_gpus_of_others()
    while until is not None and not until.exists():
        time.sleep(0.05)
    return ray.get_runtime_context().get_node_id(), os.environ["CUDA_VISIBLE_DEVICES"]


def test_halves_share_a_gpu_and_leave_the_other_whole(
    with_gpus: RayLauncher, tmp_path: Path
) -> None:
    """Else the third, for which FreeCapacity says that there is room, would wait for their end."""
    end = tmp_path / "end"
    halves = [place.options(**HALF_H100).remote(end) for _ in range(2)]
    whole = place.options(num_gpus=1, accelerator_type="H100").remote()
    node, gpu = ray.get(whole, timeout=LIMIT_S)
    end.touch()
    assert {where for where, _ in ray.get(halves)} == {node}
    assert {seen for _, seen in ray.get(halves)} == {"01".replace(gpu, "")}
    wait_until(lambda: with_gpus.capacity().gpus == 3)  # Ray's figures are late
    taken = [Layout(gpus=gpus, gpu_type="H100") for gpus in (0.5, 0.5, 1)]
    free = FreeCapacity.of(with_gpus.capacity(), taken)
    assert free.without(Layout(gpus=0.125, gpu_type="H100")) is None
    assert FreeCapacity.of(with_gpus.capacity(), taken[:2]).without(taken[2]) is not None


def test_a_process_without_a_gpu_sees_none_on_a_node_that_has_some(with_gpus: RayLauncher) -> None:
    accelerator = {"accelerator_type:H100": 0.001}
    assert ray.get(place.options(resources=accelerator).remote())[1] == ""


def test_a_stage_runs_on_its_part_of_the_type_that_its_layout_names(
    with_gpus: RayLauncher, tasks: GangTasks
) -> None:
    assert gpu_types(with_gpus.capacity()) == {"H100", "A10G"}
    task: StageTask = tasks.ranking(layout=Layout(gpus=0.5, gpu_type="A10G"))
    with_gpus.start(task)
    deadline = time.monotonic() + LIMIT_S
    while _free_gpus() != {"GPU": 2.5, "accelerator_type:A10G": 0.999}:
        assert time.monotonic() < deadline, _free_gpus()
        time.sleep(0.1)
    assert finish(with_gpus).failure is None


def _free_gpus() -> dict[str, float]:
    free = ray.available_resources()
    return {name: free.get(name, 0.0) for name in ("GPU", "accelerator_type:A10G")}
