"""Where an autoscaler's config is found: its command line, and KubeRay's RayCluster."""

from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from ray.autoscaler._private.kuberay.node_provider import KubernetesHttpApiClient

from orchestrator.ray_backend.growth import limits
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


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is the head's pod of a RayCluster named trsp, in the namespace ours."""
    namespace = tmp_path / "namespace"
    namespace.write_text("ours\n")
    monkeypatch.setattr(limits, "_NAMESPACE", namespace)
    monkeypatch.setenv("RAY_CLUSTER_NAME", "trsp")


@pytest.mark.usefixtures("pod")
def test_in_a_pod_kubernetes_is_asked_for_the_ray_cluster(
    ray_cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def get(client: KubernetesHttpApiClient, path: str) -> dict[str, Any]:
        asked.append((client._namespace, path))
        return ray_cluster

    monkeypatch.setattr(KubernetesHttpApiClient, "get", get)
    (gpu,) = limits.types_on_this_machine("10.0.0.1:6379") or ()
    assert (gpu.name, gpu.most) == ("gpu", 4)
    assert asked == [("ours", "rayclusters/trsp")]


@pytest.mark.usefixtures("pod")
def test_where_kubernetes_refuses_no_autoscaler_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(client: KubernetesHttpApiClient, path: str) -> dict[str, Any]:
        raise requests.HTTPError("403 Client Error: Forbidden")

    monkeypatch.setattr(KubernetesHttpApiClient, "get", get)
    assert limits.types_on_this_machine("10.0.0.1:6379") is None


def test_elsewhere_kubernetes_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_CLUSTER_NAME", raising=False)
    assert limits.types_on_this_machine("10.0.0.1:6379") is None
