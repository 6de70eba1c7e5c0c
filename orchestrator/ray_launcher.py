"""Stages as Ray tasks, each in a fresh process so that its memory is given back. The only file that imports ray."""

import contextlib
import os
import sys
import time
from typing import Any

import ray
from ray.exceptions import RayError

from orchestrator.failures import Failure, FailureKind
from orchestrator.grid import Resources
from orchestrator.launcher import Finished
from orchestrator.layout import Capacity
from orchestrator.run_stage import StageTask, run_task
from orchestrator.stages import Kind
from trsp.errors import InvalidInputError
from trsp.hardware import hardware_name

FORWARDED = ("HF_HUB_OFFLINE", "HF_HOME", "TRSP_HOME")  # what a stage must see of our environment on whatever node it runs
LOCAL_OBJECT_STORE_BYTES = 100 * 2**20  # stages hand over keys, not data


class RayLauncher:
    """Runs stages on the cluster of ``address``, on the one we are a job of, or on a local one of its own.

    A stage takes ``cpus_per_rank`` CPUs and, where the cluster has any, GPUs. Without GPUs a measurement takes a whole
    node, for its figures would be those of its neighbours.
    """

    def __init__(self, resources: Resources, address: str | None = None) -> None:
        self._owns_cluster = not ray.is_initialized()
        if self._owns_cluster:
            _connect(address)
        self._cpus = resources.cpus_per_rank
        use = resources.use_gpus
        self._gpus = int(bool(ray.cluster_resources().get("GPU")) if use == "auto" else use)
        self.measures_alone = self._gpus == 0
        self._running: dict[str, Any] = {}
        self._stage = ray.remote(max_calls=1, max_retries=0)(run_task)

    def hardware(self) -> str:
        """What speed is measured on, as part of its key: the accelerator of the cluster, or the CPU of this machine."""
        kinds = sorted(name.partition(":")[2] for name in ray.cluster_resources() if name.startswith("accelerator_type:"))
        if self._gpus and kinds:
            return " ".join(kinds)
        return hardware_name(_node_cpus())

    def slots(self) -> int:
        total = ray.cluster_resources()
        fitting = int(total.get("CPU", 0) // self._cpus)
        return min(fitting, int(total.get("GPU", 0) // self._gpus)) if self._gpus else fitting

    def capacity(self) -> Capacity:
        total = ray.cluster_resources()
        return Capacity(int(total.get("CPU", 0)), int(total.get("GPU", 0)))

    def start(self, task: StageTask) -> None:
        whole_node = task.spec.kind is Kind.MEASURE and self.measures_alone
        stage = self._stage.options(
            num_cpus=_node_cpus() if whole_node else self._cpus, num_gpus=self._gpus, name=task.spec.key
        )
        self._running[task.spec.key] = stage.remote(task)

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        if not self._running:
            time.sleep(wait_s)
            return ()
        ended, _ = ray.wait(list(self._running.values()), num_returns=1, timeout=wait_s)
        if ended:
            ended, _ = ray.wait(list(self._running.values()), num_returns=len(self._running), timeout=0)
        keys = [key for key, reference in self._running.items() if reference in ended]
        return tuple(Finished(key, _outcome(self._running.pop(key))) for key in keys)

    def cancel(self, key: str) -> None:
        ray.cancel(self._running[key], force=True)

    def stop(self) -> None:
        for reference in self._running.values():
            with contextlib.suppress(RayError):
                ray.cancel(reference, force=True)
        self._running = {}  # ray.cancel on a cluster that is gone would start another one
        if self._owns_cluster:
            ray.shutdown()


def _connect(address: str | None) -> None:
    """A job joins its cluster, whose environment the submission has set; anybody else may name a cluster or gets one."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "WARNING"}
    if os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR"):
        ray.init(**options)
        return
    options["runtime_env"] = {"env_vars": {name: os.environ[name] for name in FORWARDED if name in os.environ}}
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


def _outcome(reference: Any) -> Failure | None:
    """What the task returned; or, if its process or node was lost, that as a failure that may be retried."""
    try:
        failure: Failure | None = ray.get(reference)
        return failure
    except RayError as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Failure(type(error).__name__, first_line, FailureKind.LOST, str(error)[-4000:], when=time.time())
