"""The contract between the controller and whatever runs stages, and the in-process launcher.

Knows no cluster: that is for other launchers.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.execution.chain import run_chain
from orchestrator.execution.run_stage import StageTask, run_task
from orchestrator.layouts.capacity import Capacity
from orchestrator.layouts.layout import Layout
from orchestrator.store.failures import Failure
from trsp.evaluation.hardware import hardware_name


@dataclass(frozen=True)
class Finished:
    """A stage that ended: with all of its result in the store, or with a failure."""

    key: str
    failure: Failure | None  # None: the result is there
    reached: bool = True  # False: it was to follow another in its process, which did not come to it


@dataclass(frozen=True)
class Heard:
    """What a stage that computes has said of itself, in words for people."""

    progress: str = ""  # "step 12 of 320, loss 2.713"
    where: str = ""  # "10.0.0.3, GPU 2"; empty where there is one place only


class Launcher(Protocol):
    """What runs stages, each at most once at a time.

    Nothing here blocks, except ``start`` of an in-process launcher.
    """

    measures_alone: bool  # whether a measurement must have the whole machine
    hands_over: bool  # whether a process goes on with the stages in ``StageTask.then``

    def hardware(self) -> str:
        """Return the name of what speed is measured on; it is part of a measurement's key."""

    def capacity(self) -> Capacity:
        """Return what the cluster has for us now, whether our stages have taken it or not.

        What other jobs hold is not in it, but in its ``whole``. It is asked for at every decision,
        because nodes and jobs come and go.
        """

    def begun(self) -> frozenset[str]:
        """Return the keys of the running stages that compute: in their processes, on their devices.

        Those that are not among them wait for their place. It is asked for at every step.
        """

    def heard(self) -> Mapping[str, Heard]:
        """Return what the stages that compute have said of themselves, by key.

        It is that which they had said when ``begun`` was asked for, and costs nothing.
        """

    def avoid(self, nodes: Collection[str]) -> None:
        """Start no stage on these nodes (ids) from now on, and leave them out of ``capacity``.

        What runs there runs on. Each call takes the place of the one before.
        """

    def potential(self) -> Capacity:
        """Return the most that the cluster can become: what is there, and nodes that can come.

        What other jobs hold is as in ``capacity``.
        """

    def request(self, layouts: Sequence[Layout]) -> None:
        """Ask for a cluster on which stages of these layouts fit at once; none: let go of nodes.

        It stands until the next call.
        """

    def start(self, task: StageTask) -> None:
        """Run a stage as ``task.layout`` says: all its ranks or, while they do not fit, none.

        Those in ``task.then`` follow in the same process, each with an end of its own.
        """

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        """Return the stages that ended since the last call.

        Waits up to ``wait_s`` seconds for the first. A stage with others in its process comes back
        when it ends, not when these do; those that were not reached come back as such.
        """

    def cancel(self, key: str) -> None:
        """End one running stage; it comes back from ``poll`` as failed.

        One that waits for its turn ends when that comes, and none of those behind it is reached.
        """

    def stop(self) -> None:
        """Cancel what runs and let go of the cluster.

        Nothing can be started afterwards. It may be called again.
        """


class InProcessLauncher:
    """Runs each stage at once, in this process: for a laptop without Ray, a debugger, a test.

    One stage at a time, and no gangs.
    """

    measures_alone = True
    hands_over = True

    def __init__(self, capacity: Capacity | None = None) -> None:
        """``capacity`` is what to say that there is; by default one CPU."""
        self._capacity = capacity or Capacity()
        self._finished: list[Finished] = []

    def hardware(self) -> str:
        return hardware_name()

    def capacity(self) -> Capacity:
        return self._capacity

    def begun(self) -> frozenset[str]:
        return frozenset(finished.key for finished in self._finished)

    def heard(self) -> Mapping[str, Heard]:
        """Return nothing: a stage is over before anybody can ask."""
        return {}

    def avoid(self, nodes: Collection[str]) -> None:
        """Nothing to do: there is one node."""

    def potential(self) -> Capacity:
        return self._capacity

    def request(self, layouts: Sequence[Layout]) -> None:
        """Nothing to do: this machine is all that there is."""

    def start(self, task: StageTask) -> None:
        if not task.then:
            self._finished.append(Finished(task.spec.key, run_task(task)))
            return
        outcomes = run_chain(task)
        for key in (each.spec.key for each in (task, *task.then)):
            self._finished.append(Finished(key, outcomes.get(key), reached=key in outcomes))

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        finished, self._finished = tuple(self._finished), []
        return finished

    def cancel(self, key: str) -> None:
        """Nothing to do: what was started has ended."""

    def stop(self) -> None:
        """Nothing to do: what was started has ended."""
