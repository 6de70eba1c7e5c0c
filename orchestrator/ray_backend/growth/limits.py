"""The limits of a cluster's autoscaler, wherever Ray keeps them.

Ray's autoscalers tell nobody what they may start. Those who report their config to Ray's own store
are asked there. Else the config is read where the autoscaler reads it, which is on the head: the
file that its process was started with (``ray up``), or the RayCluster in Kubernetes' API.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
import yaml
from ray._private.state import state
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.ray_backend.growth.node_types import (
    NodeType,
    types_of_config,
    types_of_groups,
)

HEAD_ANSWER_S = 60.0  # the head may have to load the job's code first
_HEAD = "node:__internal_head__"
_MONITOR = "monitor.py"  # the script of both of Ray's autoscalers
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def types_that_can_come() -> tuple[NodeType, ...] | None:
    """Return the types of node that the cluster's autoscaler may start.

    None where no autoscaler is known: then nodes come only by hand.
    """
    reported = _reported_types()
    return reported or _types_read_on_head()


def head_node_id() -> str | None:
    """Return the id of the living head; None where there is none to be seen."""
    for node in ray.nodes():
        if node["Alive"] and _HEAD in node["Resources"]:
            return str(node["NodeID"])
    return None


def _reported_types() -> tuple[NodeType, ...]:
    """Return what an autoscaler has reported of its config; nothing where none has."""
    config = state.get_cluster_config()
    if config is None:
        return ()
    groups = [
        (group.name, dict(group.resources), group.max_count) for group in config.node_group_configs
    ]
    return types_of_groups(groups, dict(config.max_resources))


def _types_read_on_head() -> tuple[NodeType, ...] | None:
    """Return what the head can read of its autoscaler's config; None where it finds none."""
    gcs_address, head = ray.get_runtime_context().gcs_address, head_node_id()
    if head is None or head == ray.get_runtime_context().get_node_id():
        return types_on_this_machine(gcs_address)
    there = NodeAffinitySchedulingStrategy(head, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(types_on_this_machine)
    reference = task.remote(gcs_address)
    try:
        types: tuple[NodeType, ...] | None = ray.get(reference, timeout=HEAD_ANSWER_S)
        return types
    except GetTimeoutError:
        ray.cancel(reference, force=True)
    except RayError:
        pass
    return None


def types_on_this_machine(gcs_address: str) -> tuple[NodeType, ...] | None:
    """Return the types of node of the autoscaler of that cluster, whose head this machine is.

    None where it has none, or one whose config cannot be read. Only the types leave the config,
    which may hold secrets.
    """
    config = _config_file(gcs_address) or _ray_cluster()
    return types_of_config(config) if config else None


def _config_file(gcs_address: str) -> Mapping[str, Any] | None:
    """Return the config that the cluster's autoscaler was started with, by its command line."""
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
            command = command_line.read_text(encoding="utf-8").split("\0")
            file = config_option(command, gcs_address)
            if file is not None:
                config = yaml.safe_load(Path(file).expanduser().read_text(encoding="utf-8"))
                return config if isinstance(config, dict) else None
    return None


def config_option(command: list[str], gcs_address: str) -> str | None:
    """Return the file of an autoscaler's config that a command line names.

    None for the command of anything but the autoscaler of the cluster at ``gcs_address``, and for
    one without a config, which only looks on.
    """
    if not any(argument.endswith(_MONITOR) for argument in command):
        return None
    options = dict(
        argument.removeprefix("--").split("=", 1) for argument in command if "=" in argument
    )
    if options.get("gcs-address") != gcs_address:
        return None
    return options.get("autoscaling-config") or None


def _ray_cluster() -> Mapping[str, Any] | None:
    """Return what KubeRay's autoscaler makes of the RayCluster that this pod is the head of.

    The pod's own account may read it, for its autoscaler does.
    """
    name = os.environ.get("RAY_CLUSTER_NAME")
    if not name or not _NAMESPACE.is_file():
        return None
    from ray.autoscaler._private.kuberay import node_provider

    namespace = _NAMESPACE.read_text(encoding="utf-8").strip()
    with suppress(Exception):  # no right to read, another version's fields: no autoscaler is known
        client = node_provider.KubernetesHttpApiClient(namespace=namespace)
        return config_of_ray_cluster(client.get(f"rayclusters/{name}"))
    return None


def config_of_ray_cluster(cluster: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the config that Ray derives from a RayCluster; None for one that does not scale."""
    if not cluster["spec"].get("enableInTreeAutoscaling"):
        return None
    from ray.autoscaler._private.kuberay import autoscaling_config as kuberay

    config: Mapping[str, Any] = kuberay._derive_autoscaling_config_from_ray_cr(dict(cluster))
    return config
