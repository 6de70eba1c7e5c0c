"""The stages of a cell in one process on a real Ray, its model handed over in memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from orchestrator.execution.stage_task import StageTask
from orchestrator.grid.run_settings import Resources
from orchestrator.ray_backend.ray_launcher import RayLauncher
from orchestrator.scheduler.controller import Controller
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.snapshots import StoreSnapshots
from orchestrator.store.store import Store
from orchestrator.views.grid_view import Status
from tests.integration.gangs.gang_tasks import GangTasks, rank_process, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

CHAIN = [StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE]


class NotingLauncher(RayLauncher):
    """Notes what it starts."""

    def __init__(self) -> None:
        super().__init__(Resources())
        self.started: list[StageTask] = []

    def start(self, task: StageTask) -> None:
        self.started.append(task)
        super().start(task)

    def chains(self) -> list[list[StageKind]]:
        """The kinds of stages of each process that was asked for, of those with several."""
        kinds = [[each.spec.kind for each in (task, *task.then)] for task in self.started]
        return [chain for chain in kinds if len(chain) > 1]


@pytest.fixture
def noting(cluster: Cluster) -> Iterator[NotingLauncher]:
    launcher = NotingLauncher()
    yield launcher
    launcher.stop()


def test_a_cells_stages_share_a_process_and_after_a_kill_its_next_one(
    noting: NotingLauncher, tasks: GangTasks
) -> None:
    transfer = {"name": "drift", "steps": 1000, "blocks_per_step": 2, "learning_rate": 1e-3}
    one_cell: dict[str, Any] = {"ratios": [0.2], "selectors": {"name": "reverse"}}
    quick = {
        "gate_l1": 0.1,
        "measurement": {"protocol": "none"},
        "budgets": [],
        "transfer": transfer,
    }
    resources = {"snapshot_every_steps": 50}
    grid = tasks.grid(**one_cell, **quick, resources=resources)
    controller = Controller(grid, Store(grid.grid.storage.store), noting)

    def training() -> StageTask | None:
        """The training that has left a snapshot, once there is one."""
        controller.step(0.02)
        trainings = (task for task in noting.started if task.spec.kind is StageKind.TRANSFER)
        for task in trainings:
            if StoreSnapshots(Store(task.store), task.spec.key).latest() is not None:
                return task
        return None

    rank_process(wait_until(training), 0).kill()
    wait_until(lambda: controller.step(0.1).status is Status.DONE)
    controller.close()
    assert noting.chains() == [CHAIN, CHAIN]
    (cell,) = controller.view().cells
    results = {
        kind: Store(grid.grid.storage.store).stages.stored(cell.stage_keys[kind]) for kind in CHAIN
    }
    assert all(results.values())
    processes = {
        (each["timings"]["node"], each["timings"]["process"]) for each in results.values() if each
    }
    assert len(processes) == 1
    assert (results[StageKind.TRANSFER] or {})["files"] is None, "nobody has read its weights"
