"""The cheapest layout of a stage that fits a cluster, by the estimate of its memory.

A GPU's rank is limited by its GPU and, where something is offloaded, by its host; without GPUs the
host is the limit. Pure: no cluster, store, torch or file.
"""

from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.candidates import Candidates, doubling
from orchestrator.layouts.capacity import (
    Capacity,
    describe_capacity,
    describe_needs,
    fits,
)
from orchestrator.layouts.layout import Layout, counted
from orchestrator.layouts.memory import Correction, Peak
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import Work, work_of
from orchestrator.stages.stage_specs import StageKind, StageSpec
from trsp.architecture.shape import ModelShape
from trsp.config import EngineSettings

USABLE = 0.92  # of a GPU's memory: the estimate may err, and the allocator leaves gaps
# Parts of a GPU that a stage may have. Halves of halves, so that they always fill whole GPUs; and
# how much of its part a stage is to need: an error is larger beside a small part, and ends it.
PARTS = (1 / 8, 1 / 4, 1 / 2)
USABLE_OF_PART = 0.8
MOST_RANKS = 4096  # that a refusal looks through for what would be enough
UNCORRECTED = Correction()
_GB = 10**9


@dataclass(frozen=True)
class DoesNotFit:
    """No layout of a stage fits: why, and what would be needed, in one line for people."""

    reason: str


def layout_for(
    spec: StageSpec,
    shape: ModelShape | None,
    capacity: Capacity,
    resources: Resources,
    engine: EngineSettings | Literal["auto"] = "auto",
    correction: Correction = UNCORRECTED,
    gpu_type: str = "",
) -> Layout | DoesNotFit:
    """Return the cheapest layout of the stage that fits ``capacity``, or why none does.

    Cheapest: nothing offloaded (which costs the most time), then the fewest ranks (other stages run
    beside it), then the lowest ZeRO stage (the least communication), no activation checkpointing
    (a third of the compute), the largest micro-batch. One rank that needs little of its GPU has a
    part of it, except to measure. What the user has said is taken as it is: with ``engine`` and
    ``resources.ranks`` given, nothing is refused, unless there is a ``gpu_type``: then the layout's
    GPUs are to be of this one among several, and so are all in ``capacity``. ``shape`` None:
    nothing is known of the model, so no memory is estimated (``memory_bytes`` 0). A memory of 0 in
    ``capacity`` is not known and limits nothing. ``correction`` is what was measured on these
    devices. The same arguments give the same layout.
    """
    candidates = Candidates(work_of(spec), capacity, resources, engine, gpu_type)
    if shape is None:
        return candidates.first
    search = _Search(shape, candidates, correction)
    if candidates.are_given and not gpu_type:
        return search.sized(candidates.first)
    return search.cheapest() or DoesNotFit(search.refusal())


def describe_layout(layout: Layout, work: Work) -> str:
    """Return the layout for people: of a training, or of one process: ``1 process on 2 GPUs``.

    A stage that trains nothing has no ZeRO stage.
    """
    if work.is_training:
        return layout.text
    return f"1 process on {layout.devices}"


@dataclass(frozen=True)
class _Search:
    """Which of a stage's candidates fit the cluster, by the peak memory of a rank."""

    shape: ModelShape
    candidates: Candidates
    correction: Correction

    @property
    def work(self) -> Work:
        return self.candidates.work

    @property
    def capacity(self) -> Capacity:
        return self.candidates.capacity

    def cheapest(self) -> Layout | None:
        """Return the first layout that fits, in order of cost; None where none does."""
        for layout in self.candidates.layouts(self.candidates.ranks()):
            if self._fits_gpu(layout):
                sized = self.sized(layout)
                if fits(self.capacity, sized):
                    return sized
        return None

    def sized(self, layout: Layout) -> Layout:
        """Return the layout with the memory that a rank takes of its host, and what of its GPU.

        Room for a copy of its snapshots is a part of it where the cluster has that.
        """
        needed = self._peak(layout)
        sized = replace(layout, memory_bytes=needed.host.total, gpus=self._part_of_gpu(layout))
        copying = replace(sized, memory_bytes=sized.memory_bytes + needed.snapshot_bytes)
        return copying if fits(self.capacity, copying) else sized

    def _part_of_gpu(self, layout: Layout) -> float:
        """Return the least part of its GPU that holds a stage of one rank; else all its GPUs.

        A measurement has its GPU for itself, and so has a stage of which nothing is known.
        """
        limit, needed = self.capacity.gpu_memory_bytes, self._gpu_bytes(layout)
        alone = self.work.kind is StageKind.MEASURE or not self.candidates.resources.share_gpus
        if alone or not limit or (layout.ranks, layout.gpus) != (1, 1):
            return layout.gpus
        holding = (part for part in PARTS if needed <= USABLE_OF_PART * part * limit)
        return next(holding, layout.gpus)

    def refusal(self) -> str:
        """Return, for people, what the stage takes at the least, what there is, what is enough."""
        text = f"{self.work.kind} of a model of {self.shape.params / _GB:.2f}B parameters needs"
        layouts = list(self.candidates.layouts(self.candidates.ranks() or (1,)))
        on_gpus = [layout for layout in layouts if self._fits_gpu(layout)]
        if not self.candidates.first.gpus:
            return f"{text} {self._least_on_hosts(on_gpus)}{self.correction.text}"
        least = self._least_on_hosts(on_gpus) if on_gpus else self._least_on_a_gpu(layouts)
        return f"{text} {least}; {self._enough_gpus()}{self.correction.text}"

    def _fits_gpu(self, layout: Layout) -> bool:
        limit = self.capacity.gpu_memory_bytes
        return not limit or self._gpu_bytes(layout) <= USABLE * limit

    def _peak(self, layout: Layout) -> Peak:
        return self.correction.of(peak(self.shape, self.work, layout))

    def _gpu_bytes(self, layout: Layout) -> int:
        """Return the peak on each of a rank's GPUs; 0 without any."""
        gpu = self._peak(layout).gpu
        return gpu.total if gpu else 0

    def _least_on_a_gpu(self, layouts: list[Layout]) -> str:
        """Return what the layout that takes the least of a GPU takes of it."""
        least = min(layouts, key=self._gpu_bytes)
        size = f"{self._gpu_bytes(least) / _GB:.1f} GB on a GPU at the least"
        return f"{size} ({describe_layout(least, self.work)})"

    def _least_on_hosts(self, layouts: list[Layout]) -> str:
        """Return what the layout that takes the least of all hosts takes, and what there is."""
        least = min(layouts, key=lambda layout: layout.ranks * self.sized(layout).memory_bytes)
        how = f" ({least.text})" if self.work.is_training else ""
        there = describe_capacity(self.capacity)
        return f"{describe_needs(self.sized(least))} at the least{how}, and there are {there}"

    def _enough_gpus(self) -> str:
        """Return how many GPUs there are, and the fewest that would do without offload."""
        size = f"{self.capacity.gpu_memory_bytes / _GB:.0f} GB"
        there = f"there are {counted(self.capacity.gpus, 'GPU')} of {size}"
        if not self.work.is_training:
            return f"{there}: it needs larger ones, or more of them in one node"
        for layout in self.candidates.layouts(doubling(MOST_RANKS)):
            engine = layout.engine
            offloads = engine.offload_weights != "none" or engine.offload_optimizer != "none"
            if not offloads and self._fits_gpu(layout):
                return f"{there}: {layout.ranks} would do ({layout.text})"
        return (
            f"{there}, and no number of them would do: "
            "it needs larger ones, or a smaller calibration.block_tokens"
        )
