"""Expected seconds of stages: estimated from their effort, corrected by what like ones have taken.

Knows no store and no clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from orchestrator.layouts.layout import Layout
from orchestrator.scheduler.expected.devices import rates_of
from orchestrator.scheduler.expected.effort import Effort
from orchestrator.stages.stage_specs import StageKind, StageSpec

_DISK_BYTES = 5e8  # a second
_START_S, _GANG_S = 0.5, 15.0  # of a process that is forked, and of several that find each other


class Knowledge(Enum):
    """How like a stage those are that were measured, the closest first."""

    MODEL = "the same on this model"
    METHOD = "the same on other models"
    KIND = "its kind"
    DEVICE = "others on this device"
    NOTHING = "nothing"


@dataclass(frozen=True)
class _Sums:
    measured_s: float = 0.0
    estimated_s: float = 0.0

    def with_one(self, measured_s: float, estimated_s: float) -> "_Sums":
        return _Sums(self.measured_s + measured_s, self.estimated_s + estimated_s)

    @property
    def factor(self) -> float:
        return self.measured_s / self.estimated_s


def begin_s(layout: Layout) -> float:
    """Return the seconds before the processes of a stage do any of its work."""
    return _START_S + (_GANG_S if layout.ranks > 1 else 0.0)


def estimated_s(effort: Effort, layout: Layout) -> float:
    """Return the seconds that the work takes on this layout, where nothing was ever measured."""
    rates, devices = rates_of(layout), layout.ranks * (layout.gpus or layout.cpus)
    compute = effort.operations / (devices * rates.operations)
    stream = effort.streamed_bytes / rates.bytes
    return compute + stream + effort.stored_bytes / _DISK_BYTES


def as_it_ran(layout: Layout, ranks: int, cpus: float, gpus: float) -> Layout:
    """Return the layout with the devices that a stage really had; both are of all its ranks."""
    gpus_each = gpus / ranks
    whole = int(gpus_each) if gpus_each.is_integer() else gpus_each
    return replace(layout, ranks=ranks, cpus=max(1, int(cpus // ranks)), gpus=whole)


class Durations:
    """What stages have taken, and so what others are going to take.

    A stage is like those of its kind and method on the same model and sort of device; where none
    of them is known, like those of its kind and device, and then like any on its device.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, ...], _Sums] = {}

    def learn(self, spec: StageSpec, effort: Effort, layout: Layout, seconds: float) -> None:
        """Take up that the work of such a stage took so many seconds, without their beginning."""
        estimate_s = estimated_s(effort, layout)
        if seconds <= 0 or not estimate_s:
            return
        for group in _groups(spec, layout):
            self._sums[group] = self._sums.get(group, _Sums()).with_one(seconds, estimate_s)

    def expected_s(self, spec: StageSpec, effort: Effort, layout: Layout) -> float:
        """Return the seconds that such a stage is going to take, from its process's beginning."""
        known = (self._sums[group] for group in _groups(spec, layout) if group in self._sums)
        closest = next(known, None)
        factor = closest.factor if closest else 1.0
        return begin_s(layout) + estimated_s(effort, layout) * factor

    def knowledge(self, spec: StageSpec, layout: Layout) -> Knowledge:
        """Return what is known of stages like this one: of the closest group that there is."""
        groups = [group in self._sums for group in _groups(spec, layout)]
        return list(Knowledge)[groups.index(True)] if any(groups) else Knowledge.NOTHING


def _groups(spec: StageSpec, layout: Layout) -> Iterator[tuple[str, ...]]:
    """Yield the groups of stages that a stage is like, the closest first."""
    device = layout.gpu_type or ("gpu" if layout.gpus else "cpu")
    method = ""
    if spec.kind is StageKind.RANKING:
        method = str(spec.inputs["selector"]["name"])
    elif spec.kind is StageKind.TRANSFER:
        method = str(spec.inputs["transfer"]["name"])
    yield device, spec.kind, method, str(spec.locations["model"]["name"])
    yield device, spec.kind, method
    yield device, spec.kind
    yield (device,)
