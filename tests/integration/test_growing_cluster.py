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
CELL: dict[str, Any] = {
    "selectors": "reverse",
    "ratios": 0.2,
    "measurement": {"protocol": "none"},
}


@pytest.fixture(params=["v1", "v2"])
def growing(request: pytest.FixtureRequest) -> Iterator[RayHead]:
    with growing_ray(short_folder(), request.param, TYPES) as head:
        yield head


def test_a_cluster_without_workers_runs_a_grid_that_needs_gpus_and_a_gang(
    growing: RayHead, tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    """Nodes with GPUs come for the one, and a second node while the other's gang waits."""
    resources = {"on-gpus": {"use_gpus": True}, "gang": {"use_gpus": False, "ranks": 2}}
    transfers = {"on-gpus": "none", "gang": {"name": "drift", "steps": 2, "blocks_per_step": 2}}
    wait_until_alone(growing)
    for name in ("on-gpus", "gang"):
        grid = tiny_grid(
            *(tmp_path / name, tiny_llama, text_file),
            **CELL,
            transfer=transfers[name],
            storage={"store": str(tmp_path / "store")},
            resources=resources[name],
        )
        grid.write_text("#!/usr/bin/env -S python -m orchestrator\n" + grid.read_text())
        grid.chmod(0o755)
        printed = submit(growing, grid.parent, "./tiny.yaml", name, str(tmp_path / "home"))
        assert growing.job(name)["driver_exit_code"] == 0, printed
        (cell,) = drivers.view(grid).cells
        assert cell.status is Status.DONE
        wait_until_alone(growing)
