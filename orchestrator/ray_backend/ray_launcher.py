"""Stages as Ray tasks, each in fresh processes so that their memory is given back.

Knows no stage from another. A stage of one rank is one task. A gang is a task that takes nothing
itself and runs Ray Train within (``gang``).
"""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.execution.launcher import Finished
from orchestrator.execution.run_stage import StageTask, run_task
from orchestrator.execution.stage_task import rank_reports
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.cluster import (
    AcceleratorTypes,
    cluster_capacity,
    cluster_hardware,
    connect,
    has_gpus,
    largest_node_cpus,
)
from orchestrator.ray_backend.growth.keeper import NodeRequests
from orchestrator.ray_backend.lost_ranks import lost_rank_failure
from orchestrator.ray_backend.node_kinds import ClusterNode
from orchestrator.ray_backend.potential import Growth, unknown_nodes
from orchestrator.ray_backend.preemption import PreemptionNotice
from orchestrator.ray_backend.visible_gpus import hide_gpus_of_others
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.failures import Failure

# How long a cancelled gang may take to end its ranks, before it is ended by force and its place may
# be lost to us; and how long when we go: with the job, Ray takes back everything.
GANG_GRACE_S = 60.0
STOP_LIMIT_S = 10.0


class RayLauncher:
    """Runs stages on the cluster of ``address``, on the one we are a job of, or on a local one.

    A stage takes what its layout says. Without GPUs a measurement takes a whole node, for its
    figures would be those of its neighbours.
    """

    def __init__(
        self, resources: Resources, address: str | None = None, node: ClusterNode | None = None
    ) -> None:
        """Connect, unless this process is connected already: then the cluster is left so, too.

        ``node`` is the one node on which stages of one rank are to run; default: any.
        """
        self._owns_cluster = not ray.is_initialized()
        if self._owns_cluster:
            connect(address)
        # Whoever limits the number of stages says that nodes come, even where Ray knows of none.
        nodes_come = resources.max_parallel is not None
        self._growth = Growth(unknown_nodes(resources.cpus_per_rank) if nodes_come else None)
        self._requests = NodeRequests()
        self._uses_gpus = self._has_gpus() if resources.use_gpus == "auto" else resources.use_gpus
        self.measures_alone = not self._uses_gpus
        self._node = node
        self._measure_on = resources.measure_on
        self._types = AcceleratorTypes(self._measure_on)
        self._running: dict[str, tuple[Any, StageTask]] = {}  # by the stage's key
        self._force_at: dict[str, float] = {}  # cancelled gangs, and when they are ended by force
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        fresh = {"max_calls": 1, "max_retries": 0}
        self._one_rank = ray.remote(**fresh)(_run_one_rank)
        self._gang = ray.remote(num_cpus=0, scheduling_strategy=here, **fresh)(_run_gang)

    def _has_gpus(self) -> bool:
        """Whether the cluster has GPUs, or can have some; where nothing is known, those there."""
        return has_gpus() or self._growth.brings_gpus

    def hardware(self) -> str:
        """Return what speed is measured on: one type of accelerator, or this machine's CPU.

        Raises InvalidInputError where the type that the grid asks for is not there, nor comes.
        """
        coming = self._growth.coming(cluster_capacity(self._uses_gpus), self._uses_gpus)
        self._types.see(node.gpu_type for node in coming)
        hardware = cluster_hardware(self._uses_gpus, self._measure_on, coming)
        self._types.named(hardware)  # while it is there
        return hardware

    def capacity(self) -> Capacity:
        """Return what the nodes have that are there to stay; no GPUs where none are to be used."""
        return cluster_capacity(self._uses_gpus)

    def potential(self) -> Capacity:
        """Return the most that the cluster can become; no GPUs where none are to be used."""
        there = cluster_capacity(self._uses_gpus)
        return Capacity.of([*there.machines, *self._growth.coming(there, self._uses_gpus)])

    def request(self, layouts: Sequence[Layout]) -> None:
        """Ask the cluster's autoscaler for room for these layouts at once; none: let go.

        Nothing is asked of a cluster that stays as it is.
        """
        if self._growth.types:
            self._requests.want(self._growth.bundles(layouts))

    def start(self, task: StageTask) -> None:
        """Submit a stage; Ray runs all its ranks or, while they do not fit, none."""
        self._running[task.spec.key] = self._submit(task), task

    def _submit(self, task: StageTask) -> Any:
        """Submit a stage as a Ray task, named by its key. Returns the reference to its outcome."""
        layout, key = task.layout, task.spec.key
        if layout.ranks > 1:
            return self._gang.options(name=key).remote(task)
        whole_node = task.spec.kind is StageKind.MEASURE and self.measures_alone
        all_cpus = self._node.cpus if self._node else largest_node_cpus()
        stage = self._one_rank.options(
            num_cpus=all_cpus if whole_node else layout.cpus,
            num_gpus=layout.gpus,
            memory=layout.memory_bytes or None,
            accelerator_type=self._accelerator_type(task),
            name=key,
            scheduling_strategy=self._strategy(),
        )
        return stage.remote(task)

    def _strategy(self) -> Any:
        """Return where a stage of one rank may run, as Ray is told."""
        if self._node is None:
            return "DEFAULT"
        return NodeAffinitySchedulingStrategy(self._node.id, soft=False)

    def _accelerator_type(self, task: StageTask) -> str | None:
        """Return the type of accelerator that a stage is to have; None where any will do.

        A measurement's is that of its key, also where its layout found it nowhere.
        """
        if task.spec.kind is not StageKind.MEASURE or not task.layout.gpus:
            return task.layout.gpu_type or None
        return self._types.named(str(task.spec.inputs["hardware"]))

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        """Return the stages that ended since the last call.

        Waits up to ``wait_s`` seconds for the first.
        """
        self._end_overdue_gangs()
        if not self._running:
            time.sleep(wait_s)
            return ()
        keys = {reference: key for key, (reference, _) in self._running.items()}
        ended, _ = ray.wait(list(keys), num_returns=1, timeout=wait_s)
        if ended:
            ended, _ = ray.wait(list(keys), num_returns=len(keys), timeout=0)
        return tuple(self._finish(keys[reference]) for reference in ended)

    def _finish(self, key: str) -> Finished:
        """Forget a stage that ended, and return how it did."""
        self._force_at.pop(key, None)
        return Finished(key, _outcome(*self._running.pop(key)))

    def cancel(self, key: str) -> None:
        """End one stage: by force, except for a gang.

        A gang ends its ranks first: nobody else would give back their place.
        """
        reference, task = self._running[key]
        if task.layout.ranks == 1:
            ray.cancel(reference, force=True)
        elif key not in self._force_at:
            self._force_at[key] = time.monotonic() + GANG_GRACE_S
            ray.cancel(reference, recursive=False)

    def _end_overdue_gangs(self) -> None:
        """End by force, once, the cancelled gangs whose time is over."""
        now = time.monotonic()
        for key in [key for key, when in self._force_at.items() if now > when]:
            self._force_at[key] = float("inf")
            ray.cancel(self._running[key][0], force=True)

    def stop(self) -> None:
        """Cancel what runs, and disconnect where ``__init__`` connected. May be called again."""
        with contextlib.suppress(RayError):
            self._requests.want(())
            self._cancel_all()
        # Nothing may be left to cancel: on a cluster that is gone, ray.cancel starts another one.
        self._running, self._force_at = {}, {}
        if self._owns_cluster:
            ray.shutdown()

    def _cancel_all(self) -> None:
        """Cancel what runs.

        On a cluster that outlives us, wait for gangs to end their ranks. One of ours goes as a
        whole.
        """
        for key in self._running:
            self.cancel(key)
        gangs = [reference for reference, task in self._running.values() if task.layout.ranks > 1]
        if gangs and not self._owns_cluster:
            ray.wait(gangs, num_returns=len(gangs), timeout=STOP_LIMIT_S)


# --- in the workers -----------------------------------------------------------


def _run_one_rank(task: StageTask) -> Failure | None:
    """Run a stage in this process. Returns None on success, else the failure, which is recorded."""
    hide_gpus_of_others()
    notice = PreemptionNotice()
    notice.install()
    try:
        return run_task(task, notice.leaving)
    finally:
        notice.over()


def _run_gang(task: StageTask) -> Failure | None:
    """Run a stage on several ranks, from this process. Returns None or the recorded failure."""
    from orchestrator.ray_backend.gang import run_gang  # loads torch

    return run_gang(task)


# --- how they ended -----------------------------------------------------------


def _outcome(reference: Any, task: StageTask) -> Failure | None:
    """Return what the task returned; or what is known of a process or node that was lost."""
    try:
        failure: Failure | None = ray.get(reference)
        return failure
    except RayTaskError as error:
        return failure_of(error.cause or error, str(error), task.layout.to_json())
    except RayError as error:
        return _lost_process_failure(task, error)


def _lost_process_failure(task: StageTask, error: RayError) -> Failure:
    """Return the failure of a stage whose process is gone, and remove what its ranks left.

    The process is that of the only rank or, for a gang, the one that saw to its ranks.
    """
    reports = rank_reports(task)
    rank_failure = reports[0].failure() or lost_rank_failure(0, error, reports[0].tail())
    for report in reports:
        report.remove()
    return Failure(
        rank_failure.error,
        rank_failure.message,
        rank_failure.kind,
        rank_failure.tail or str(error),
        time.time(),
        layout=task.layout.to_json(),
    )
