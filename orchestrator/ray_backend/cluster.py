"""The Ray cluster itself: joining or starting one, and what its nodes have. Knows no stages."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray

from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.estimate import PARTS
from orchestrator.layouts.layout import GPU_TYPE
from orchestrator.ray_backend.node_kinds import gpu_type
from orchestrator.ray_backend.preemption import draining_nodes
from orchestrator.ray_backend.sharing.others import Amounts
from orchestrator.ray_backend.submission.environment import FORWARDED
from trsp.errors import InvalidInputError, unknown_name
from trsp.evaluation.hardware import ANY_GPU, cpu_name, hardware_name

LOCAL_OBJECT_STORE_BYTES = 100 * 2**20  # stages hand over keys, not data
_ROUNDING = 1e-3  # Ray counts in ten-thousandths

# Memory of one GPU in 10^9 bytes, by Ray's accelerator type: the smallest where there are several.
GPU_MEMORY_GB: Mapping[str, int] = {
    "V100": 16,
    "P100": 16,
    "T4": 16,
    "A10": 24,
    "A10G": 24,
    "A30": 24,
    "L4": 24,
    "A40": 48,
    "L40": 48,
    "L40S": 48,
    "RTX-A5000": 24,
    "RTX-A6000": 48,
    "RTX-PRO-6000": 96,
    "GeForce-RTX-3090": 24,
    "GeForce-RTX-4090": 24,
    "GeForce-RTX-5090": 32,
    "A100": 40,
    "A100-40G": 40,
    "A100-80G": 80,
    "H100": 80,
    "H200": 141,
    "H20": 96,
    "GH200": 96,
    "B200": 180,
    "B300": 270,
    "AMD-Instinct-MI250X": 128,
    "AMD-Instinct-MI300X-OAM": 192,
    "AMD-Instinct-MI325X-OAM": 256,
}


def connect(address: str | None) -> None:
    """Connect this process to the cluster it is a job of, else to ``address``, else to its own.

    A job joins its cluster, whose environment the submission has set. With neither a job nor an
    address, a local Ray is started that belongs to this process alone and ends with it;
    InvalidInputError where Ray could not start workers there.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "WARNING"}
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        ray.init(**options)
        return
    forwarded = {name: os.environ[name] for name in FORWARDED if name in os.environ}
    options["runtime_env"] = {"env_vars": forwarded}
    if address is None:
        if " " in sys.executable:
            raise InvalidInputError(
                f"Ray cannot start workers by {sys.executable!r}, whose path has spaces; make the "
                "virtual environment in a folder without them, or name a running cluster by "
                "--address"
            )
        options |= {"include_dashboard": False, "object_store_memory": LOCAL_OBJECT_STORE_BYTES}
    ray.init(address=address or "local", **options)


def has_gpus() -> bool:
    """Whether any node has a GPU."""
    return bool(ray.cluster_resources().get("GPU"))


def staying_nodes() -> list[Mapping[str, Any]]:
    """Return the nodes that are there to stay, as ``ray.nodes()`` gives them."""
    leaving = draining_nodes()
    return [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]


def capacity_of(
    nodes: Iterable[Mapping[str, Any]], others: Mapping[str, Amounts], with_gpus: bool
) -> Capacity:
    """Return what nodes have for us: all but what other jobs hold, by the node's id.

    No GPUs unless ``with_gpus``. A CPU of which others hold a part is theirs; of a GPU the rest is
    there for small stages.
    """
    there = [
        (resources_capacity(node["Resources"], with_gpus), others.get(node["NodeID"], {}))
        for node in nodes
    ]
    whole = Capacity.of(node for node, _ in there)
    ours = Capacity.of(_without_others(node, held) for node, held in there)
    return ours if ours == whole else replace(ours, whole=whole)


def held_by_others(capacity: Capacity) -> list[dict[str, float]]:
    """Return what other jobs hold of each node, by Ray's names; only of nodes of which they do."""
    held = []
    for ours, node in zip(capacity.machines, capacity.in_all.machines, strict=True):
        amounts = {"CPU": node.cpus - ours.cpus, "GPU": node.gpus - ours.gpus}
        held.append({name: float(amount) for name, amount in amounts.items() if amount})
    return [amounts for amounts in held if amounts]


def amounts_of(machines: Iterable[Capacity]) -> list[dict[str, float]]:
    """Return what each of these nodes has, by Ray's names; memory where it is known."""
    nodes = []
    for node in machines:
        amounts = {"CPU": node.cpus, "GPU": node.gpus, "memory": node.memory_bytes}
        if node.gpu_type:
            amounts[GPU_TYPE + node.gpu_type] = 1
        nodes.append({name: float(amount) for name, amount in amounts.items() if amount})
    return nodes


def _without_others(node: Capacity, held: Amounts) -> Capacity:
    """Return a node without what others hold of it; a known memory keeps one byte.

    Parts of GPUs that they hold are taken for parts of one, as Ray packs them.
    """
    gpus = max(0.0, node.gpus - held.get("GPU", 0) + _ROUNDING)
    rest = int(gpus % 1 / PARTS[0]) * PARTS[0]
    memory = node.memory_bytes and max(1, node.memory_bytes - int(held.get("memory", 0)))
    return replace(
        node,
        cpus=max(0, int(node.cpus - held.get("CPU", 0) + _ROUNDING)),
        gpus=int(gpus),
        memory_bytes=memory,
        gpu_parts=(rest,) if rest else (),
    )


def cluster_hardware(
    with_gpus: bool, asked: str | None = None, coming: Sequence[Capacity] = ()
) -> str:
    """Return the one type of accelerator to measure on, or else the name of this machine's CPU.

    The type is the one ``asked`` for, else the one that the cluster has most of when the nodes
    ``coming`` are there, too. ANY_GPU stands for GPUs that come and whose type is not known before.
    The CPU counts where there is no accelerator, and without ``with_gpus``. InvalidInputError for a
    type that is not there and cannot come.
    """
    if not with_gpus:
        coming = ()
    known = Counter(gpus_by_type() if with_gpus else {})
    for node in coming:
        known[node.gpu_type] += node.gpus
    unknown = known.pop("", 0)
    if asked and asked not in known and not unknown:
        slip = unknown_name("type of accelerator", asked, known or ["no accelerators"])
        raise InvalidInputError(f"resources.measure_on: {slip}; leave it out to have one chosen")
    if asked or known:
        return asked or commonest_type(known)
    name = hardware_name if with_gpus else cpu_name
    return ANY_GPU if unknown else name(largest_node_cpus())


def commonest_type(gpus: Mapping[str, int]) -> str:
    """Return the type of which there are most GPUs, the first by name of equal ones; "" of none."""
    return min(gpus, key=lambda kind: (-gpus[kind], kind), default="")


def gpus_by_type() -> dict[str, int]:
    """Return how many GPUs of each of Ray's types the living nodes have."""
    gpus: Counter[str] = Counter()
    for node in ray.nodes():
        kind = _accelerator_type(node)
        if node["Alive"] and kind:
            gpus[kind] += int(node["Resources"].get("GPU", 0))
    return dict(gpus)


class AcceleratorTypes:
    """Ray's types of accelerator that a cluster was ever seen to have: lost nodes may come back."""

    def __init__(self, asked: str | None = None) -> None:
        """``asked``: the type that speed is to be measured on, which may never have been there."""
        self._seen = {asked} if asked else set()

    def see(self, types: Iterable[str]) -> None:
        """Note types that can come; those that are not known have no name."""
        self._seen |= {kind for kind in types if kind}

    def named(self, hardware: str) -> str | None:
        """Return ``hardware`` where Ray can be asked for it; None for a CPU or an unknown GPU."""
        self._seen |= gpus_by_type().keys()
        return hardware if hardware in self._seen else None


def largest_node_cpus() -> int:
    """Return the number of CPUs of the node that has most."""
    return int(max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]))


def _accelerator_type(node: Mapping[str, Any]) -> str:
    """Return Ray's name for the type of a node's accelerators; empty where it has none."""
    return gpu_type(node["Resources"])


def resources_capacity(resources: Mapping[str, float], with_gpus: bool) -> Capacity:
    """Return what a node of these resources of Ray's has; no GPUs unless ``with_gpus``."""
    gpus = int(resources.get("GPU", 0)) if with_gpus else 0
    kind = gpu_type(resources) if gpus else ""
    return Capacity(
        cpus=int(resources.get("CPU", 0)),
        gpus=gpus,
        memory_bytes=int(resources.get("memory", 0)),
        gpu_memory_bytes=GPU_MEMORY_GB.get(kind, 0) * 10**9,
        gpu_type=kind,
    )
