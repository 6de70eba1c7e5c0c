"""The layout, the seconds and the memory of each stage of a grid, before it is computed.

Seconds are those that the scheduler expects (``scheduler/expected``).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.costs.machine import Machine
from orchestrator.grid.cells import ModelInfo
from orchestrator.layouts.estimate import UNCORRECTED, DoesNotFit
from orchestrator.layouts.kinds import layouts_for
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.peak import peak
from orchestrator.layouts.share import planned_capacity
from orchestrator.layouts.workload import Work, work_of
from orchestrator.scheduler.expected.durations import Durations, Knowledge, begin_s
from orchestrator.scheduler.expected.effort import (
    ROUND_BY_ROUND,
    Effort,
    effort_of,
    evaluation_effort,
)
from orchestrator.stages.resolve import Resolved
from orchestrator.stages.stage_specs import StageKind, StageSpec
from trsp.architecture.shape import ModelShape

_SCORING = (StageKind.EVALUATE, StageKind.DENSE)


@dataclass(frozen=True)
class _Place:
    """Where stages that need as much run; ``misfit``: why not on the machine asked about."""

    layout: Layout
    gpu_bytes: int | None  # None without a GPU
    host_bytes: int
    misfit: str = ""


class StageCosts:
    """What stages of one grid take on a machine, by what was learned of others.

    All models of the grid have shapes. It is the simulation's ``Costs``: what is expected there is
    what comes. The deletion of a checkpoint's layers is asked about before its scores, whose spec
    says nothing of how many are gone.
    """

    def __init__(self, resolved: Resolved, machine: Machine, durations: Durations) -> None:
        self._resolved, self._machine, self._durations = resolved, machine, durations
        self._places: dict[tuple[str, Work], _Place] = {}  # by what computes alike
        self._place_of: dict[str, _Place] = {}  # by key
        self._seconds: dict[tuple[str, int, Layout], Sequence[float]] = {}
        self._removed: dict[str, int] = {}  # layers, by the keys of checkpoints

    @property
    def misfits(self) -> tuple[str, ...]:
        """Why stages that were asked about do not fit on the machine."""
        return tuple(dict.fromkeys(each.misfit for each in self._places.values() if each.misfit))

    def layouts(self, spec: StageSpec) -> tuple[Layout, ...]:
        """Return the one layout that the estimate of memory gives a stage.

        Where it does not fit on the machine, it is that on as many of its GPUs as are needed.
        """
        return (self._place(spec).layout,)

    def memory(self, spec: StageSpec) -> tuple[int | None, int]:
        """Return the peak bytes of each rank: on each of its GPUs, if it has any; on its host."""
        place = self._place(spec)
        return place.gpu_bytes, place.host_bytes

    def true(self, spec: StageSpec, layout: Layout) -> Sequence[float]:
        """Return the seconds of a stage, or of each round of a ranking to its depth."""
        asked = spec.key, spec.depth, layout
        if asked not in self._seconds:
            self._seconds[asked] = self._estimated(spec, layout)
        return self._seconds[asked]

    def expected(self, spec: StageSpec, layout: Layout) -> Sequence[float]:
        """Return the seconds that the scheduler takes a stage to take: those it does take."""
        return self.true(spec, layout)

    def knowledge(self, spec: StageSpec) -> Knowledge:
        """Return what the expected seconds of a stage rest on."""
        return self._durations.knowledge(spec, self._typed(self._place(spec).layout))

    def shape_of(self, spec: StageSpec) -> ModelShape:
        """Return the shape of the model of a stage."""
        shape = self.model_of(spec).shape
        assert shape is not None
        return shape

    def model_of(self, spec: StageSpec) -> ModelInfo:
        """Return the model of a stage."""
        return self._resolved.models[spec.locations["model"]["name"]]

    def _estimated(self, spec: StageSpec, layout: Layout) -> Sequence[float]:
        if spec.kind is not StageKind.RANKING:
            return (self._expected_s(spec, self._effort(spec), layout),)
        if spec.inputs["selector"]["name"] not in ROUND_BY_ROUND:
            all_s = self._expected_s(spec, self._effort(spec), layout)
            return (all_s, *[0.0] * (spec.depth - 1))
        rounds = [
            effort_of(replace(spec, depth=done + 1), self.model_of(spec), done)
            for done in range(spec.depth)
        ]
        begins_s = begin_s(layout)
        seconds = [self._expected_s(spec, effort, layout) - begins_s for effort in rounds]
        return (begins_s + seconds[0], *seconds[1:])

    def _effort(self, spec: StageSpec) -> Effort:
        if spec.kind is StageKind.PRUNE:
            self._removed[spec.key] = len(spec.inputs["layers"])
        if spec.kind in _SCORING:
            removed = self._removed[spec.reads[0]] if spec.reads else 0
            return evaluation_effort(spec, self.model_of(spec), removed)
        return effort_of(spec, self.model_of(spec))

    def _expected_s(self, spec: StageSpec, effort: Effort, layout: Layout) -> float:
        return self._durations.expected_s(spec, effort, self._typed(layout))

    def _typed(self, layout: Layout) -> Layout:
        """Return the layout on the machine's own type of GPU, which says how fast they are."""
        return replace(layout, gpu_type=self._machine.gpu_type) if layout.gpus else layout

    def _place(self, spec: StageSpec) -> _Place:
        if spec.key not in self._place_of:
            alike = spec.locations["model"]["name"], work_of(spec)
            if alike not in self._places:
                self._places[alike] = self._found(spec, alike[1])
            self._place_of[spec.key] = self._places[alike]
        return self._place_of[spec.key]

    def _found(self, spec: StageSpec, work: Work) -> _Place:
        machine, shape = self._machine, self.shape_of(spec)
        settings = machine.resources, self._resolved.grid.engine
        misfit = ""
        found = layouts_for(spec, shape, machine.capacity, *settings, lambda _: UNCORRECTED)
        if isinstance(found, DoesNotFit):
            misfit = found.reason
            more = planned_capacity(machine.resources)
            found = layouts_for(spec, shape, more, *settings, lambda _: UNCORRECTED)
        layout = Layout(gpus=min(1, machine.gpus)) if isinstance(found, DoesNotFit) else found[0]
        needed = peak(shape, work, layout)
        gpu_bytes = needed.gpu.total if needed.gpu else None
        return _Place(layout, gpu_bytes, needed.host.total, misfit)
