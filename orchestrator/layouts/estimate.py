"""The cheapest layout of a stage that fits a cluster, by the estimate of its memory.

A GPU's rank is limited by its GPU and, where something is offloaded, by its host; without GPUs the
host is the limit. Pure: no cluster, store, torch or file.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import (
    Capacity,
    describe_capacity,
    describe_needs,
    fits,
    most_ranks,
)
from orchestrator.layouts.layout import Layout, counted
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import Trains, Work, work_of
from orchestrator.stages.stage_specs import StageSpec
from trsp.architecture.shape import ModelShape
from trsp.config import EngineSettings, Offload

USABLE = 0.92  # of a GPU's memory: the estimate may err, and the allocator leaves gaps
# Tokens that keep a GPU busy: more at once save no time. A CPU is busy with any block.
FULL_PASS_TOKENS = 8192
MOST_RANKS = 4096  # that a refusal looks through for what would be enough
_GB = 10**9

# Where the optimizer is and where the weights are, the least costly first.
_OFFLOADS: tuple[tuple[Offload, Offload], ...] = (
    ("none", "none"),
    ("cpu", "none"),
    ("cpu", "cpu"),
)


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
) -> Layout | DoesNotFit:
    """Return the cheapest layout of the stage that fits ``capacity``, or why none does.

    Cheapest: nothing offloaded (which costs the most time), then the fewest ranks (other stages run
    beside it), then the lowest ZeRO stage (the least communication), no activation checkpointing
    (a third of the compute), the largest micro-batch. What the user has said is taken as it is:
    with ``engine`` and ``resources.ranks`` given, nothing is refused. ``shape`` None: nothing is
    known of the model, so no memory is estimated (``memory_bytes`` 0). A memory of 0 in
    ``capacity`` is not known and limits nothing. The same arguments give the same layout.
    """
    work = work_of(spec)
    first = _first_layout(capacity, resources, engine)
    if not work.is_training:
        first = replace(first, ranks=1)
    if shape is None:
        return first
    search = _Search(shape, work, capacity, resources, engine, first)
    if work.is_training and engine != "auto" and resources.ranks != "auto":
        return search.sized(first)
    return search.cheapest() or DoesNotFit(search.refusal())


def _first_layout(
    capacity: Capacity, resources: Resources, engine: EngineSettings | Literal["auto"]
) -> Layout:
    """Return the layout that the user has asked for, and one rank where that is left open."""
    use_gpus = capacity.gpus > 0 if resources.use_gpus == "auto" else resources.use_gpus
    return Layout(
        ranks=1 if resources.ranks == "auto" else resources.ranks,
        cpus=resources.cpus_per_rank,
        gpus=int(use_gpus),
        engine=EngineSettings() if engine == "auto" else engine,
    )


def describe_layout(layout: Layout, work: Work) -> str:
    """Return the layout for people: of a training, or of one process: ``1 process on 2 GPUs``.

    A stage that trains nothing has no ZeRO stage.
    """
    if work.is_training:
        return layout.text
    return f"1 process on {layout.devices}"


@dataclass(frozen=True)
class _Search:
    """The layouts of one stage on a cluster, in order of cost, and which of them fit.

    ``first`` is what the user has asked for, with one rank where that is left open.
    """

    shape: ModelShape
    work: Work
    capacity: Capacity
    resources: Resources
    engine: EngineSettings | Literal["auto"]
    first: Layout

    def cheapest(self) -> Layout | None:
        """Return the first layout that fits, in order of cost; None where none does."""
        for layout in self._layouts(self._ranks()):
            if self._fits_gpu(layout):
                sized = self.sized(layout)
                if fits(self.capacity, sized):
                    return sized
        return None

    def sized(self, layout: Layout) -> Layout:
        """Return the layout with the memory that a rank takes of its host."""
        return replace(layout, memory_bytes=peak(self.shape, self.work, layout).host.total)

    def refusal(self) -> str:
        """Return, for people, what the stage takes at the least, what there is, what is enough."""
        text = f"{self.work.kind} of a model of {self.shape.params / _GB:.2f}B parameters needs"
        layouts = list(self._layouts(self._ranks() or (1,)))
        on_gpus = [layout for layout in layouts if self._fits_gpu(layout)]
        if not self.first.gpus:
            return f"{text} {self._least_on_hosts(on_gpus)}"
        least = self._least_on_hosts(on_gpus) if on_gpus else self._least_on_a_gpu(layouts)
        return f"{text} {least}; {self._enough_gpus()}"

    # --- layouts in order of cost ---

    @property
    def _trains_weights(self) -> bool:
        return self.work.trains is Trains.WEIGHTS

    def _layouts(self, ranks: tuple[int, ...]) -> Iterator[Layout]:
        """Yield the layouts worth a try; a training may run on any of these numbers of ranks."""
        return self._gangs(ranks) if self.work.is_training else self._processes()

    def _ranks(self) -> tuple[int, ...]:
        """Return the numbers of ranks worth a try; none where the cluster holds not even one."""
        if self.resources.ranks != "auto":
            return (self.resources.ranks,)
        there = most_ranks(self.capacity, self.first)
        return _doubling(min(there, self.resources.max_ranks or there))

    def _gangs(self, ranks: tuple[int, ...]) -> Iterator[Layout]:
        """Yield the layouts of a training; only beside a GPU is the host another place."""
        for optimizer, weights in _OFFLOADS if self.first.gpus else _OFFLOADS[:1]:
            for number in ranks:
                for engine in self._engines(number, optimizer, weights):
                    yield replace(self.first, ranks=number, engine=engine)

    def _engines(
        self, ranks: int, optimizer: Offload, weights: Offload
    ) -> Iterator[EngineSettings]:
        """Yield the engine's settings with the optimizer and the weights in these places.

        Settings that the user has given say where these are, so they come once, with no offload.
        """
        if self.engine != "auto":
            if optimizer == "none":
                yield self.engine
            return
        for stage in self._zero_stages(ranks, optimizer, weights):
            for checkpointing in (False, True):
                for micro_batch in self._micro_batches(ranks):
                    yield EngineSettings(
                        zero_stage=stage,
                        micro_batch=micro_batch,
                        activation_checkpointing=checkpointing,
                        offload_optimizer=optimizer if self._trains_weights else "none",
                        offload_weights=weights,
                    )

    def _zero_stages(self, ranks: int, optimizer: Offload, weights: Offload) -> tuple[int, ...]:
        """Return the ZeRO stages each of which shares out more than the one before.

        Without ranks to share with, none does.
        """
        if weights != "none":
            return (3,)
        if optimizer != "none":
            return (2, 3) if self._trains_weights else ()
        if ranks == 1:
            return (0,)
        return (1, 2, 3) if self._trains_weights else (0, 3)

    def _micro_batches(self, ranks: int) -> tuple[int, ...]:
        """Return micro-batches from the largest that is worth while down to one row."""
        if not self.first.gpus:
            return (1,)
        rows = -(-self.work.rows // ranks)
        busy = FULL_PASS_TOKENS // max(1, self.work.tokens)
        return _doubling(max(1, min(rows, busy)))[::-1]

    def _processes(self) -> Iterator[Layout]:
        """Yield the layouts of one process, on one GPU of a node to all of them, or on none."""
        if not self.first.gpus:
            yield replace(self.first, ranks=1)
            return
        most = max(node.gpus for node in self.capacity.machines)
        for gpus in range(1, max(1, most) + 1):
            yield replace(self.first, ranks=1, gpus=gpus)

    # --- what fits ---

    def _fits_gpu(self, layout: Layout) -> bool:
        limit = self.capacity.gpu_memory_bytes
        return not limit or self._gpu_bytes(layout) <= USABLE * limit

    def _gpu_bytes(self, layout: Layout) -> int:
        """Return the peak on each of a rank's GPUs; 0 without any."""
        gpu = peak(self.shape, self.work, layout).gpu
        return gpu.total if gpu else 0

    # --- refusals ---

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
        for layout in self._gangs(_doubling(MOST_RANKS)):
            engine = layout.engine
            offloads = engine.offload_weights != "none" or engine.offload_optimizer != "none"
            if not offloads and self._fits_gpu(layout):
                return f"{there}: {layout.ranks} would do ({layout.text})"
        return (
            f"{there}, and no number of them would do: "
            "it needs larger ones, or a smaller calibration.block_tokens"
        )


def _doubling(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4, ... and ``most`` itself; nothing where that is below 1."""
    numbers = []
    number = 1
    while number < most:
        numbers.append(number)
        number *= 2
    return (*numbers, most) if most > 0 else ()
