"""Where an autoscaler's config is found: its command line, and KubeRay's RayCluster."""

from typing import Any

import pytest
import yaml

from orchestrator.ray_backend.growth.limits import config_of_ray_cluster, config_option
from orchestrator.ray_backend.growth.node_types import types_of_config
from tests.rooms import ROOT

MONITOR = ["python", "-u", "/lib/ray/autoscaler/_private/monitor.py", "--gcs-address=10.0.0.1:6379"]


def test_an_autoscaler_names_its_config() -> None:
    command = [*MONITOR, "--autoscaling-config=/home/ray/ray_bootstrap_config.yaml"]
    assert config_option(command, "10.0.0.1:6379") == "/home/ray/ray_bootstrap_config.yaml"


def test_an_autoscaler_of_the_second_version_does_as_well() -> None:
    command = [*MONITOR, "--autoscaling-config=/c.yaml"]
    command[2] = "/lib/ray/autoscaler/v2/monitor.py"
    assert config_option(command, "10.0.0.1:6379") == "/c.yaml"


@pytest.mark.parametrize(
    "command",
    [
        MONITOR,
        ["ray", "start", "--gcs-address=10.0.0.1:6379", "--autoscaling-config=/c.yaml"],
        [*MONITOR[:3], "--gcs-address=10.0.0.2:6379", "--autoscaling-config=/c.yaml"],
    ],
    ids=["one that only looks on", "another program", "of another cluster"],
)
def test_others_name_none(command: list[str]) -> None:
    assert config_option(command, "10.0.0.1:6379") is None


@pytest.fixture
def ray_cluster() -> dict[str, Any]:
    """The RayCluster that the operator makes of deploy/rayjob.yaml."""
    text = (ROOT / "deploy" / "rayjob.yaml").read_text(encoding="utf-8")
    spec = yaml.safe_load(text)["spec"]["rayClusterSpec"]
    return {"metadata": {"name": "trsp", "namespace": "default"}, "spec": spec}


def test_a_group_of_workers_may_have_its_most_replicas(ray_cluster: dict[str, Any]) -> None:
    config = config_of_ray_cluster(ray_cluster)
    assert config is not None
    (gpu,) = types_of_config(config)
    assert (gpu.name, gpu.most) == ("gpu", 4)
    assert gpu.resources == {"CPU": 32, "GPU": 8, "memory": 256 * 2**30}


def test_a_ray_cluster_that_does_not_scale_has_no_autoscaler(ray_cluster: dict[str, Any]) -> None:
    ray_cluster["spec"]["enableInTreeAutoscaling"] = False
    assert config_of_ray_cluster(ray_cluster) is None
