"""The attempts that Ray was given: what each takes of the cluster, and how far it has come."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.execution.launcher import Heard
from orchestrator.execution.stage_task import StageTask
from orchestrator.layouts.layout import Layout
from orchestrator.ray_backend.sharing.begun import NOT_BEGUN, Begun, Sign, Signs
from orchestrator.ray_backend.sharing.others import Amounts, Place
from orchestrator.ray_backend.sharing.places import where_in_words


@dataclass
class Submitted:
    """One attempt at a stage, from when Ray was given it to its end."""

    reference: Any  # to its outcome
    task: StageTask
    sign: Sign
    amounts: Amounts  # that each rank takes
    begun: Begun = NOT_BEGUN
    told: set[str] = field(default_factory=set)  # the stages whose ends were told of
    ends_at: set[str] = field(default_factory=set)  # the stages at whose turn it is to end
    force_at: float | None = None  # a cancelled gang is ended by force then, in monotonic seconds

    @property
    def tasks(self) -> tuple[StageTask, ...]:
        """Its stage, and those that follow in the same process."""
        return self.task, *self.task.then

    @property
    def complete(self) -> bool:
        """Whether it has said all that there is to say before its end."""
        placed = self.begun.computes and len(self.begun.nodes) == self.task.layout.ranks
        return placed and (not self.task.then or len(self.begun.done) == len(self.tasks))

    @property
    def computing(self) -> frozenset[str]:
        """The keys of its stages that compute, or have done so, and whose ends were not told."""
        if not self.begun.computes:
            return frozenset()
        first = self.task.spec.key
        return self.begun.computed.union({first}) - self.told

    @property
    def ends_now(self) -> bool:
        """Whether one of the stages that it is to end at has its turn, and those before are done.

        They may still be committed when the next one begins.
        """
        keys = [task.spec.key for task in self.tasks]
        return any(
            key in self.begun.computed and self.begun.done.issuperset(keys[:place])
            for place, key in enumerate(keys)
            if key in self.ends_at
        )

    def heard(self, addresses: Mapping[str, str]) -> dict[str, Heard]:
        """Return how far each of its stages that computes has come, and where, by key.

        ``addresses``: of the cluster's nodes, by id.
        """
        where = where_in_words(self.begun.nodes, self.begun.gpus, addresses)
        return {key: Heard(self.begun.progress.get(key, ""), where) for key in self.computing}

    def holds(self, key: str) -> bool:
        """Whether this is one of its stages, and not told of yet."""
        return key not in self.told and any(task.spec.key == key for task in self.tasks)

    @property
    def places(self) -> list[Place]:
        """Where its processes run, as far as they have said."""
        return [Place(node, self.amounts) for node in self.begun.nodes.values()]

    @property
    def waiting(self) -> list[Amounts]:
        """What each of its processes takes that has not said where it runs."""
        return [self.amounts] * (self.task.layout.ranks - len(self.begun.nodes))


def asked(layout: Layout, cpus: int | None = None) -> Amounts:
    """Return what a rank takes, as Ray is asked for it; ``cpus`` in place of the layout's."""
    return layout.amounts | ({"CPU": float(cpus)} if cpus else {})


def hear(signs: Signs, attempts: Iterable[Submitted], everything: bool = False) -> None:
    """Take up what attempts have said since; no request where there is nothing more to hear.

    ``everything``: also how far those have come that run.
    """
    silent = [each for each in attempts if everything or not each.complete]
    said = signs.read(each.sign for each in silent) if silent else {}
    for each in silent:
        each.begun = said.get(each.sign, each.begun)


def places_of(attempts: Iterable[Submitted]) -> Iterator[Place]:
    """Yield where the processes of attempts run, as far as they have said."""
    for each in attempts:
        yield from each.places


def waiting_of(attempts: Iterable[Submitted]) -> Iterator[Amounts]:
    """Yield what each process of these attempts takes that has not said where it runs."""
    for each in attempts:
        yield from each.waiting


def held_by(attempts: Iterable[Submitted]) -> list[dict[str, float]]:
    """Return the CPUs and GPUs of each process of these attempts that has said where it runs."""
    return [
        {name: place.amounts[name] for name in ("CPU", "GPU") if name in place.amounts}
        for place in places_of(attempts)
    ]
