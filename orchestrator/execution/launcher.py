"""The contract between the controller and whatever runs stages, and the in-process launcher that honours it."""

from dataclasses import dataclass
from typing import Protocol

from orchestrator.execution.run_stage import StageTask, run_task
from orchestrator.layouts.capacity import Capacity
from orchestrator.store.failures import Failure
from trsp.evaluation.hardware import hardware_name


@dataclass(frozen=True)
class Finished:
    """A stage that ended: whole in the store (``failure`` None), or not."""

    key: str
    failure: Failure | None


class Launcher(Protocol):
    """Runs stages, each at most once at a time. Nothing here blocks except ``start`` of an in-process launcher."""

    measures_alone: bool  # whether a measurement must have the whole machine

    def hardware(self) -> str:
        """What speed is measured on; part of a measurement's key."""

    def capacity(self) -> Capacity:
        """What the cluster has now, taken or not. Asked at every decision, for nodes come and go."""

    def start(self, task: StageTask) -> None:
        """Run a stage as ``task.layout`` says: all its ranks or, while they do not fit, none."""

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        """Stages that ended since the last call; waits up to ``wait_s`` for the first."""

    def cancel(self, key: str) -> None:
        """End one stage; it comes back from ``poll`` as failed."""

    def stop(self) -> None:
        """Cancel what runs and let go of the cluster; nothing can be started afterwards. May be called again."""


class InProcessLauncher:
    """Runs a stage at once, in this process: a laptop without Ray, a debugger, a test. One stage at a time, no gangs."""

    measures_alone = True

    def __init__(self, capacity: Capacity | None = None) -> None:
        self._capacity = capacity or Capacity()
        self._finished: list[Finished] = []

    def hardware(self) -> str:
        return hardware_name()

    def capacity(self) -> Capacity:
        return self._capacity

    def start(self, task: StageTask) -> None:
        self._finished.append(Finished(task.spec.key, run_task(task)))

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        finished, self._finished = tuple(self._finished), []
        return finished

    def cancel(self, key: str) -> None:
        """Nothing to do: what was started has ended."""

    def stop(self) -> None:
        """Nothing to do: what was started has ended."""
