"""Stages as Ray tasks. Each computes in fresh processes, so that its memory is given back.

Knows no stage from another. A stage of one rank is one task. A gang is a task that takes nothing
itself and runs Ray Train within (``gang``).
"""

import contextlib
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.execution.launcher import Finished, Heard
from orchestrator.execution.stage_task import StageTask
from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.share import within
from orchestrator.ray_backend.cluster import (
    AcceleratorTypes,
    amounts_of,
    cluster_hardware,
    connect,
    has_gpus,
    held_by_others,
)
from orchestrator.ray_backend.growth.keeper import NodeRequests
from orchestrator.ray_backend.growth.requests import Want
from orchestrator.ray_backend.node_kinds import ClusterNode
from orchestrator.ray_backend.occupancy import Occupancy
from orchestrator.ray_backend.potential import Growth, unknown_nodes
from orchestrator.ray_backend.sharing.begun import Sign, Signs
from orchestrator.ray_backend.sharing.cancelling import cancel, cancel_all, end_due
from orchestrator.ray_backend.sharing.members import committed
from orchestrator.ray_backend.sharing.others import Amounts
from orchestrator.ray_backend.sharing.places import located, without
from orchestrator.ray_backend.sharing.submitted import Submitted, asked, hear, held_by
from orchestrator.ray_backend.workers import outcome, run_one_rank, run_several_ranks
from orchestrator.stages.stage_specs import StageKind

LISTEN_EVERY_S = 2.0  # to how far those have come that compute


class RayLauncher:
    """Runs stages on the cluster of ``address``, on the one we are a job of, or on a local one.

    A stage takes what its layout says. Without GPUs a measurement takes a whole node, for its
    figures would be those of its neighbours.
    """

    hands_over = True

    def __init__(
        self, resources: Resources, address: str | None = None, node: ClusterNode | None = None
    ) -> None:
        """Connect, unless this process is connected already: then the cluster is left so, too.

        ``node`` is the one node on which stages of one rank are to run; default: any.
        """
        self._owns_cluster = not ray.is_initialized()
        if self._owns_cluster:
            connect(address)
        self._resources = resources
        # Whoever limits the number of stages says that nodes come, even where Ray knows of none.
        nodes_come = resources.max_parallel is not None
        self._growth = Growth(unknown_nodes(resources.cpus_per_rank) if nodes_come else None)
        self._requests = NodeRequests()
        self._uses_gpus = self._has_gpus() if resources.use_gpus == "auto" else resources.use_gpus
        self.measures_alone = not self._uses_gpus
        self._node = node
        self._measure_on = resources.measure_on
        self._types = AcceleratorTypes(self._measure_on)
        self._signs = Signs()
        self._occupancy = Occupancy(self._uses_gpus, self._signs)
        self._running: dict[str, Submitted] = {}  # by the key of the first stage of each
        self._listened = float("-inf")  # when those that compute were last heard, in seconds
        self._selector: dict[str, str] = {}  # of the labels of nodes that stages may run on
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        # Said of both, for Ray takes max_calls=1 where GPUs are asked for.
        reused, fresh = [{"max_calls": calls, "max_retries": 0} for calls in (0, 1)]
        self._one_rank = ray.remote(**reused)(run_one_rank)
        self._gang = ray.remote(num_cpus=0, scheduling_strategy=here, **fresh)(run_several_ranks)

    def _has_gpus(self) -> bool:
        """Whether the cluster has GPUs, or can have some; where nothing is known, those there."""
        return has_gpus() or self._growth.brings_gpus

    def hardware(self) -> str:
        """Return what speed is measured on: one type of accelerator, or this machine's CPU.

        Raises InvalidInputError where the type that the grid asks for is not there, nor comes.
        """
        coming = self._growth.coming(self.capacity().in_all, self._uses_gpus)
        self._types.see(node.gpu_type for node in coming)
        hardware = cluster_hardware(self._uses_gpus, self._measure_on, coming)
        self._types.named(hardware)  # while it is there
        return hardware

    def capacity(self) -> Capacity:
        """Return what the nodes that are there to stay have for us, without what other jobs hold.

        No GPUs where none are to be used.
        """
        return self._occupancy.capacity(self._running.values())

    def begun(self) -> frozenset[str]:
        """Return the keys of the stages that compute: Ray has started their processes."""
        due = time.monotonic() - self._listened >= LISTEN_EVERY_S
        if due:
            self._listened = time.monotonic()
        hear(self._signs, self._running.values(), everything=due)
        return frozenset().union(*(each.computing for each in self._running.values()))

    def heard(self) -> dict[str, Heard]:
        """Return how far the stages that compute have come, as heard by the last ``begun``."""
        addresses, running = self._occupancy.addresses, self._running.values()
        return {key: heard for each in running for key, heard in each.heard(addresses).items()}

    def potential(self) -> Capacity:
        """Return the most that the cluster can become; no GPUs where none are to be used."""
        there = self.capacity()
        return there.grown(self._growth.coming(there.in_all, self._uses_gpus))

    def request(self, layouts: Sequence[Layout]) -> None:
        """Ask the cluster's autoscaler for room for these layouts at once; none: let go.

        Nothing is asked of a cluster that stays as it is.
        """
        if not layouts:
            self._requests.want(Want())
        elif self._growth.types:
            self._requests.want(self._wanted(layouts))

    def _wanted(self, layouts: Sequence[Layout]) -> Want:
        """Return what these layouts want, beside what others hold.

        For Ray takes a request for all that there is to be.
        """
        there = self.capacity().in_all
        return Want(
            groups=self._growth.bundles(layouts),
            placed=held_by(self._running.values()),
            others=held_by_others(self.capacity()),
            there=amounts_of(there.machines),
            coming=amounts_of(self._growth.coming(there, self._uses_gpus)),
            may_come=self._growth.may_come(there),
        )

    def avoid(self, nodes: Collection[str]) -> None:
        """Start no stage on these nodes from now on, and leave them out of the capacity."""
        self._selector = without(nodes)
        self._occupancy.avoid(frozenset(nodes))

    def start(self, task: StageTask) -> None:
        """Submit a stage; Ray runs all its ranks or, while they do not fit, none."""
        self.capacity()  # what others hold is known from before Ray is given this
        whole_node = task.spec.kind is StageKind.MEASURE and self.measures_alone
        amounts = asked(task.layout, self._most_cpus() if whole_node else None)
        sign = self._signs.new()
        reference = self._submit(task, sign, amounts)
        self._running[task.spec.key] = Submitted(reference, task, sign, amounts)

    def _submit(self, task: StageTask, sign: Sign, amounts: Amounts) -> Any:
        """Submit a stage as a Ray task, named by its key. Returns the reference to its outcome."""
        layout, key = task.layout, task.spec.key
        if layout.ranks > 1:
            return self._gang.options(name=key).remote(task, sign, self._selector)
        stage = self._one_rank.options(
            num_cpus=amounts["CPU"],
            num_gpus=layout.gpus,
            memory=layout.memory_bytes or None,
            accelerator_type=self._accelerator_type(task),
            name=key,
            scheduling_strategy=self._strategy(),
            label_selector=self._selector if self._node is None else {},
        )
        return stage.remote(task, sign)

    def _most_cpus(self) -> int:
        """Return the CPUs for us of the largest node: of equal ones, of that with most of them."""
        if self._node is not None:
            return self._node.cpus
        ours = within(self._resources, self.capacity(), self.potential().in_all)
        nodes = zip(ours.in_all.machines, ours.machines, strict=True)
        return max((whole.cpus, free.cpus) for whole, free in nodes)[1]

    def _strategy(self) -> Any:
        """Return where a stage of one rank may run, as Ray is told."""
        if self._node is None:
            return "DEFAULT"
        return NodeAffinitySchedulingStrategy(self._node.id, soft=False)

    def _accelerator_type(self, task: StageTask) -> str | None:
        """Return the type of accelerator that a stage is to have; None where any will do.

        Where speed is measured it is that of the measurement's key, also where its layout found it
        nowhere.
        """
        for each in (task, *task.then):
            if each.spec.kind is StageKind.MEASURE and task.layout.gpus:
                return self._types.named(str(each.spec.inputs["hardware"]))
        return task.layout.gpu_type or None

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        """Return the stages that ended since the last call.

        Waits up to ``wait_s`` seconds for the first.
        """
        end_due(self._running.values())
        told = self._committed()
        if not self._running:
            time.sleep(wait_s)
            return ()
        keys = {each.reference: key for key, each in self._running.items()}
        ended, _ = ray.wait(list(keys), num_returns=1, timeout=0 if told else wait_s)
        if ended:
            ended, _ = ray.wait(list(keys), num_returns=len(keys), timeout=0)
        return (*told, *(each for reference in ended for each in self._finish(keys[reference])))

    def _committed(self) -> tuple[Finished, ...]:
        """Return the stages that were committed, by what was heard last, while others follow."""
        running = self._running.values()
        return tuple(each for attempt in running for each in committed(attempt))

    def _finish(self, key: str) -> tuple[Finished, ...]:
        """Forget a process that ended, and return how its stages did."""
        attempt = self._running.pop(key)
        self._occupancy.end(attempt)
        return tuple(
            replace(each, failure=each.failure and located(each.failure, attempt.begun.nodes))
            for each in outcome(attempt)
        )

    def cancel(self, key: str) -> None:
        cancel(next(each for each in self._running.values() if each.holds(key)), key)

    def stop(self) -> None:
        """Cancel what runs, and disconnect where ``__init__`` connected. May be called again."""
        with contextlib.suppress(RayError):
            self._requests.let_go()
            cancel_all(self._running.values(), waits=not self._owns_cluster)
        # Nothing may be left to cancel: on a cluster that is gone, ray.cancel starts another one.
        self._running = {}
        if self._owns_cluster:
            ray.shutdown()
