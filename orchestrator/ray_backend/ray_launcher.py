"""Stages as Ray tasks, each in fresh processes so that their memory is given back. Knows no stage from another.

A stage of one rank is one task. A gang is a task that takes nothing itself and runs Ray Train within (``gang``).
"""

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.execution.launcher import Finished
from orchestrator.execution.run_stage import StageTask, run_task
from orchestrator.execution.stage_task import rank_reports
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.ray_backend.lost_ranks import lost_rank_failure
from orchestrator.ray_backend.preemption import PreemptionNotice, draining_nodes
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure
from trsp.errors import InvalidInputError
from trsp.evaluation.hardware import hardware_name

FORWARDED = (
    "HF_HUB_OFFLINE",
    "HF_HOME",
    "TRSP_HOME",
)  # what a stage must see of our environment on whatever node it runs
LOCAL_OBJECT_STORE_BYTES = 100 * 2**20  # stages hand over keys, not data
GANG_GRACE_S = 60.0  # for a cancelled gang to end its ranks, before it is ended by force and its place may be lost to us
STOP_LIMIT_S = 10.0  # for the same when we go: with the job, Ray takes back everything

# Of Ray's accelerator types, the smallest where there are several; in 10^9 bytes.
GPU_MEMORY_GB: Mapping[str, int] = {
    "V100": 16,
    "P100": 16,
    "T4": 16,
    "A10G": 24,
    "L4": 24,
    "L40S": 48,
    "A100": 40,
    "A100-40G": 40,
    "A100-80G": 80,
    "H100": 80,
    "H200": 141,
    "H20": 96,
    "B200": 180,
    "B300": 270,
    "AMD-Instinct-MI250X": 128,
    "AMD-Instinct-MI300X-OAM": 192,
    "AMD-Instinct-MI325X-OAM": 256,
}


class RayLauncher:
    """Runs stages on the cluster of ``address``, on the one we are a job of, or on a local one of its own.

    A stage takes what its layout says. Without GPUs a measurement takes a whole node, for its figures would be those of
    its neighbours.
    """

    def __init__(self, resources: Resources, address: str | None = None) -> None:
        self._owns_cluster = not ray.is_initialized()
        if self._owns_cluster:
            _connect(address)
        use = resources.use_gpus
        self._uses_gpus = bool(ray.cluster_resources().get("GPU")) if use == "auto" else use
        self.measures_alone = not self._uses_gpus
        self._running: dict[str, tuple[Any, StageTask]] = {}
        self._cancelled: dict[str, float] = {}  # gangs, and when they are ended by force
        self._alone = ray.remote(max_calls=1, max_retries=0)(_run_alone)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._gang = ray.remote(num_cpus=0, max_calls=1, max_retries=0, scheduling_strategy=here)(
            _run_gang
        )

    def hardware(self) -> str:
        """What speed is measured on, as part of its key: the accelerator of the cluster, or the CPU of this machine."""
        kinds = sorted(kind for kind in map(_accelerator, ray.nodes()) if kind)
        if self._uses_gpus and kinds:
            return " ".join(dict.fromkeys(kinds))
        return hardware_name(_node_cpus())

    def capacity(self) -> Capacity:
        """Of the nodes that are there to stay. No GPUs where none are to be used."""
        leaving = draining_nodes()
        alive = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]
        return Capacity.of(_node_capacity(node, self._uses_gpus) for node in alive)

    def start(self, task: StageTask) -> None:
        self._running[task.spec.key] = self._submit(task), task

    def _submit(self, task: StageTask) -> Any:
        layout, key = task.layout, task.spec.key
        if layout.ranks > 1:
            return self._gang.options(name=key).remote(task)
        whole_node = task.spec.kind is StageKind.MEASURE and self.measures_alone
        stage = self._alone.options(
            num_cpus=_node_cpus() if whole_node else layout.cpus,
            num_gpus=layout.gpus,
            memory=layout.memory_bytes or None,
            name=key,
        )
        return stage.remote(task)

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        self._end_by_force()
        if not self._running:
            time.sleep(wait_s)
            return ()
        keys = {reference: key for key, (reference, _) in self._running.items()}
        ended, _ = ray.wait(list(keys), num_returns=1, timeout=wait_s)
        if ended:
            ended, _ = ray.wait(list(keys), num_returns=len(keys), timeout=0)
        return tuple(self._finished(keys[reference]) for reference in ended)

    def _finished(self, key: str) -> Finished:
        self._cancelled.pop(key, None)
        return Finished(key, _outcome(*self._running.pop(key)))

    def cancel(self, key: str) -> None:
        """By force, except for a gang, which ends its ranks first: nobody else would give back their place."""
        reference, task = self._running[key]
        if task.layout.ranks == 1:
            ray.cancel(reference, force=True)
        elif key not in self._cancelled:
            self._cancelled[key] = time.monotonic() + GANG_GRACE_S
            ray.cancel(reference, recursive=False)

    def _end_by_force(self) -> None:
        for key in [key for key, when in self._cancelled.items() if time.monotonic() > when]:
            self._cancelled[key] = float("inf")
            ray.cancel(self._running[key][0], force=True)

    def stop(self) -> None:
        with contextlib.suppress(RayError):
            for key in self._running:
                self.cancel(key)
            gangs = [
                reference for reference, task in self._running.values() if task.layout.ranks > 1
            ]
            if gangs and not self._owns_cluster:  # one of ours goes as a whole
                ray.wait(gangs, num_returns=len(gangs), timeout=STOP_LIMIT_S)
        self._running, self._cancelled = (
            {},
            {},
        )  # ray.cancel on a cluster that is gone would start another one
        if self._owns_cluster:
            ray.shutdown()


# --- in the workers -------------------------------------------------------------------------------------------------------


def _run_alone(task: StageTask) -> Failure | None:
    notice = PreemptionNotice()
    notice.install()
    try:
        return run_task(task, notice.leaving)
    finally:
        notice.over()


def _run_gang(task: StageTask) -> Failure | None:
    from orchestrator.ray_backend.gang import run_gang  # loads torch

    return run_gang(task)


# --- the cluster ----------------------------------------------------------------------------------------------------------


def _connect(address: str | None) -> None:
    """A job joins its cluster, whose environment the submission has set; anybody else may name a cluster or gets one."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "WARNING"}
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        ray.init(**options)
        return
    options["runtime_env"] = {
        "env_vars": {name: os.environ[name] for name in FORWARDED if name in os.environ}
    }
    if address is None:  # one that belongs to this process alone and ends with it
        if " " in sys.executable:
            raise InvalidInputError(
                f"Ray cannot start workers by {sys.executable!r}, whose path has spaces; make the virtual environment in a "
                "folder without them, or name a running cluster by --address"
            )
        options |= {"include_dashboard": False, "object_store_memory": LOCAL_OBJECT_STORE_BYTES}
    ray.init(address=address or "local", **options)


def _node_cpus() -> int:
    return int(max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]))


def _accelerator(node: Mapping[str, Any]) -> str:
    """Ray's name for the type of a node's accelerators; empty where it has none."""
    named = (
        name.partition(":")[2] for name in node["Resources"] if name.startswith("accelerator_type:")
    )
    return next(iter(sorted(named, reverse=True)), "")  # A100-80G before A100


def _node_capacity(node: Mapping[str, Any], with_gpus: bool) -> Capacity:
    resources = node["Resources"]
    gpus = int(resources.get("GPU", 0)) if with_gpus else 0
    return Capacity(
        cpus=int(resources.get("CPU", 0)),
        gpus=gpus,
        memory_bytes=int(resources.get("memory", 0)),
        gpu_memory_bytes=GPU_MEMORY_GB.get(_accelerator(node), 0) * 10**9 if gpus else 0,
    )


# --- how they ended -------------------------------------------------------------------------------------------------------


def _outcome(reference: Any, task: StageTask) -> Failure | None:
    """What the task returned; or what is known of a process or node that was lost."""
    try:
        failure: Failure | None = ray.get(reference)
        return failure
    except RayTaskError as error:
        return failure_of(error.cause or error, str(error), task.layout.to_json())
    except RayError as error:
        return _lost(task, error)


def _lost(task: StageTask, error: RayError) -> Failure:
    """Of its only rank or, of a gang, of the process that saw to its ranks."""
    reports = rank_reports(task)
    said = reports[0].failure() or lost_rank_failure(0, error, reports[0].tail())
    for report in reports:
        report.remove()
    details = said.tail or str(error)
    return Failure(
        said.error, said.message, said.kind, details, time.time(), layout=task.layout.to_json()
    )
