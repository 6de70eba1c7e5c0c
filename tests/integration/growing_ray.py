"""A Ray head with an autoscaler, whose nodes are further raylets on this machine."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray._private.services import get_node_ip_address
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from jobs import local_ray

IDLE_S = 15  # more than Ray Train takes from asking for a gang to starting it
POLL_S = 0.5
_PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
_V2 = {
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
}


@contextmanager
def growing_ray(
    folder: Path, version: str, node_types: Mapping[str, Any]
) -> Iterator[local_ray.RayHead]:
    """Start a head without CPUs, under the autoscaler of this version: ``v1`` or ``v2``.

    It starts nodes of ``node_types``, as a cluster's file describes them, and takes them away when
    they were idle for IDLE_S seconds.
    """
    (port,) = local_ray.free_ports(1)
    config = folder.with_suffix(".json")
    config.write_text(json.dumps(_config(f"{get_node_ip_address()}:{port}", node_types)))
    options = [f"--port={port}", f"--autoscaling-config={config}"]
    variables = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    if version == "v2":
        variables |= _V2
    try:
        with local_ray.local_ray(folder, 0, options=options, variables=variables) as head:
            yield head
    finally:
        config.unlink()
        shutil.rmtree(folder, ignore_errors=True)


def _config(gcs_address: str, node_types: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cluster's file. Ray's own example for such nodes is not in its wheel."""
    workers = {name: {"node_config": {}, **described} for name, described in node_types.items()}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray")
    return {
        "cluster_name": "fake",
        "max_workers": sum(each["max_workers"] for each in node_types.values()),
        "idle_timeout_minutes": IDLE_S / 60,
        "provider": {
            "type": "external",
            "module": _PROVIDER,
            "gcs_address": gcs_address,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {},
        "head_node_type": "ray.head.default",
        "available_node_types": {"ray.head.default": head, **workers},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        **{f"{name}_commands": [] for name in (*lists, "worker_start_ray")},
    }


def workers(head: local_ray.RayHead) -> int:
    """Return how many nodes live besides the head."""
    summary = head.request("/nodes?view=summary")["data"]["summary"]
    return sum(node["raylet"]["state"] == "ALIVE" for node in summary) - 1


def wait_until_alone(head: local_ray.RayHead, limit_s: float = 60) -> None:
    """Wait until all nodes but the head have gone; AssertionError where they stay."""
    deadline = time.monotonic() + limit_s
    while workers(head):
        assert time.monotonic() < deadline, "nodes stay that nobody wants"
        time.sleep(POLL_S)
