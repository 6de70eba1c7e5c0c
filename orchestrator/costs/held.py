"""What a store holds of a grid already, and what the stages in it have taken."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator.costs.cost import GridCost
from orchestrator.costs.machine import Machine
from orchestrator.costs.model_sizes import with_sizes
from orchestrator.costs.of_grid import cost_of
from orchestrator.costs.stage_costs import StageCosts
from orchestrator.grid.cells import ModelInfo
from orchestrator.layouts.layout import Layout
from orchestrator.parallel import at_once
from orchestrator.scheduler.expected.devices import type_of_device
from orchestrator.scheduler.expected.durations import Durations, as_it_ran
from orchestrator.scheduler.expected.effort import Effort, effort_of, evaluation_effort
from orchestrator.scheduler.simulation.begun import Begun
from orchestrator.scheduler.simulation.grid import SimulatedGrid
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import SCHEDULED, StageKind, StageSpec, ranking_spec
from orchestrator.stages.timings import Phase, timings_in
from orchestrator.store.files import UnreadableRecordError
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store

_MOST_LEARNED = 100  # stages of each kind that a plan reads; they tell as much as a thousand


def cost_in(
    store: Store, resolved: Resolved, machine: Machine, price: float | None = None
) -> GridCost:
    """Return what is left to do of a grid whose keys are the real ones, by what its store holds."""
    resolved = with_sizes(resolved).resolved
    begun, durations = begun_in(store, resolved, machine), durations_in(store, resolved)
    return cost_of(resolved, machine, price, begun, durations)


def begun_in(store: Store, resolved: Resolved, machine: Machine) -> Begun:
    """Return what the store holds of a grid whose keys are the real ones."""
    results = StoreResults(store)
    rankings = {ranking_spec(cell, resolved.study).key for cell in resolved.cells}
    results.load(rankings)
    orders = {key: results.order(key) for key in rankings}
    costs = StageCosts(resolved, machine, Durations())
    stages = SimulatedGrid(resolved, costs, Begun(orders=orders)).stages()
    others = [key for key, spec in stages.items() if spec.kind is not StageKind.RANKING]
    results.load(others)
    return Begun(frozenset(filter(results.done, others)), orders)


@dataclass(frozen=True)
class _Learned:
    """What one stage of the store took, and on what it did."""

    spec: StageSpec
    effort: Effort
    seconds: float
    layout: Layout


def durations_in(store: Store, resolved: Resolved) -> Durations:
    """Return what stages of the grid's models have taken, whichever grids they are of.

    What cannot be read is left out.
    """
    durations = Durations()
    reader = _Reader(store, resolved)
    for kind in SCHEDULED:
        keys = store.files.names(f"stages/{kind}")
        every = max(1, len(keys) // _MOST_LEARNED)
        for found in at_once(partial(reader.read, kind), keys[::every]):
            for each in found:
                durations.learn(each.spec, each.effort, each.layout, each.seconds)
    return durations


class _Reader:
    """Reads stages back from a store: what they were asked, and what they took."""

    def __init__(self, store: Store, resolved: Resolved) -> None:
        self._store = store
        self._models = {model.fingerprint: model for model in resolved.models.values()}
        self._cpus = resolved.grid.resources.cpus_per_rank

    def read(self, kind: StageKind, key: str) -> tuple[_Learned, ...]:
        """Return what a stage took: once on its own type of GPU, and once on any.

        Empty where that, or its model, is not known here.
        """
        try:
            ranking = kind is StageKind.RANKING
            return tuple(self._ranking(key) if ranking else self._stage(kind, key))
        except (UnreadableRecordError, IndexError, KeyError, TypeError, ValueError):
            return ()

    def _ranking(self, key: str) -> Iterator[_Learned]:
        spec, model = self._spec(StageKind.RANKING, key)
        folder = f"stages/{spec.kind}/{key}/rounds"
        files = self._store.files
        rounds = [files.read_json(f"{folder}/{name}") for name in files.names(folder)]
        seconds = sum(each["seconds"] for each in rounds)
        effort = effort_of(replace(spec, depth=len(rounds)), model)
        yield from self._learned(spec, effort, seconds, rounds[-1])

    def _stage(self, kind: StageKind, key: str) -> Iterator[_Learned]:
        stored = self._store.stages.stored(key)
        if stored is None:
            return
        asked, record = self._stored_spec(kind, key), stored["record"]
        if kind is StageKind.EVALUATE:
            spec, model = self._spec(StageKind.PRUNE, asked["reads"][0])
            removed = len(spec.inputs["layers"])
            spec = replace(spec, kind=kind, inputs=asked["inputs"])
            effort = evaluation_effort(spec, model, removed)
        else:
            spec, model = self._spec(kind, key)
            effort = effort_of(spec, model)
        scored = record["evaluation"] if kind is StageKind.DENSE else record
        yield from self._learned(spec, effort, scored["seconds"], stored)

    def _spec(self, kind: StageKind, key: str) -> tuple[StageSpec, ModelInfo]:
        """Return a stage's spec and its model; KeyError where that is none of the grid's."""
        stored = self._stored_spec(kind, key)
        model = self._models[stored["inputs"]["model"]]
        return StageSpec(kind, stored["inputs"], {"model": {"name": model.name}}), model

    def _stored_spec(self, kind: StageKind, key: str) -> Any:
        return self._store.files.read_json(f"stages/{kind}/{key}/spec.json")

    def _learned(
        self, spec: StageSpec, effort: Effort, seconds: float, stored: Mapping[str, Any]
    ) -> Iterator[_Learned]:
        """Yield what a stage took on any device of its sort, and on a GPU of its own type."""
        layout = Layout(cpus=self._cpus)
        if times := timings_in(stored):
            if spec.kind is not StageKind.RANKING:  # whose rounds hold the times of others before
                worked_s = times.worked_s - times.seconds.get(Phase.IMPORTS, 0.0)
                seconds = max(seconds, worked_s)
            layout = as_it_ran(layout, times.ranks, times.cpus, times.gpus)
        yield _Learned(spec, effort, seconds, layout)
        named = type_of_device(stored.get("versions", {}).get("device", ""))
        if layout.gpus and named:
            yield _Learned(spec, effort, seconds, replace(layout, gpu_type=named))
