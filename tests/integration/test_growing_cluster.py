"""Grids submitted to a cluster of nothing but its head, whose nodes come when asked for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.local_ray import RayHead
from orchestrator.views.grid_view import Status
from tests.integration import drivers
from tests.integration.conftest import short_folder
from tests.integration.growing_ray import growing_ray, wait_until_alone
from tests.integration.ray_jobs import submit
from tests.tiny_grid import tiny_grid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# The GPUs are declared, not there: what has one computes on the CPU.
NODE = {"object_store_memory": 10**8, "CPU": 1}
TYPES = {
    "cpu": {"resources": NODE, "max_workers": 2},
    "gpu": {"resources": NODE | {"GPU": 1}, "max_workers": 2},
}
# The nodes of one machine share the folder of the job's code, and each that starts deletes it and
# writes it anew. In a rank whose process starts just then torch does not load ("Intel oneMKL FATAL
# ERROR"): there is no current folder (orchestrator/processes/folder.py cures it for all others).
ATTEMPTS = 6
CELL: dict[str, Any] = {
    "selectors": "reverse",
    "ratios": 0.2,
    "measurement": {"protocol": "none"},
}


@pytest.fixture(scope="module")
def growing(request: pytest.FixtureRequest) -> Iterator[RayHead]:
    with growing_ray(short_folder(), request.param, TYPES) as head:
        yield head


def run_to_its_end(head: RayHead, grid: Path, name: str) -> None:
    """Submit the grid as a job; all its cells end well, and all nodes but the head go away."""
    grid.write_text("#!/usr/bin/env -S python -m orchestrator\n" + grid.read_text())
    grid.chmod(0o755)
    printed = submit(head, grid.parent, "./tiny.yaml", name, str(grid.parent / "home"))
    assert head.job(name)["driver_exit_code"] == 0, printed
    (cell,) = drivers.view(grid).cells
    assert cell.status is Status.DONE
    wait_until_alone(head)


@pytest.mark.parametrize("growing", ["v1", "v2"], indirect=True, scope="module")
def test_a_cluster_without_workers_runs_a_grid_that_needs_gpus(
    growing: RayHead, tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    wait_until_alone(growing)
    resources = {"use_gpus": True, "max_attempts": ATTEMPTS}
    grid = tiny_grid(
        *(tmp_path, tiny_llama, text_file), **CELL, transfer="none", resources=resources
    )
    run_to_its_end(growing, grid, "on-gpus")


@pytest.mark.parametrize("growing", ["v1"], indirect=True, scope="module")
def test_a_cluster_grows_while_a_gang_waits(
    growing: RayHead, tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    """Its nodes hold one rank each."""
    wait_until_alone(growing)
    transfer = {"name": "drift", "steps": 2, "blocks_per_step": 2}
    resources = {"use_gpus": False, "ranks": 2, "max_attempts": ATTEMPTS}
    grid = tiny_grid(
        *(tmp_path, tiny_llama, text_file), **CELL, transfer=transfer, resources=resources
    )
    run_to_its_end(growing, grid, "gang")
