"""A Ray of two nodes on this machine, which all tests of gangs share, and what they run on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from orchestrator.grid.run_settings import Resources
from orchestrator.ray_backend.ray_launcher import RayLauncher
from tests.integration.gangs.gang_tasks import GangTasks

# Ray notices within 2 s, not 14 s, that a node is gone.
HEALTH_CHECK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """A head without CPUs and two nodes of one: a gang of two lies on both."""
    head = {
        "num_cpus": 0,
        "object_store_memory": 10**8,
        "include_dashboard": False,
        "include_log_monitor": False,
        "no_monitor": True,
        "_system_config": HEALTH_CHECK,
    }
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


@pytest.fixture
def tasks(tmp_path: Path, tiny_llama: Path, text_file: Path) -> GangTasks:
    return GangTasks(tmp_path, tiny_llama, text_file)


@pytest.fixture
def undisturbed_tasks(tmp_path: Path, tiny_llama: Path, text_file: Path) -> GangTasks:
    """The same stages in another store."""
    return GangTasks(tmp_path / "undisturbed", tiny_llama, text_file)
