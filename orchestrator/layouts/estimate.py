"""The cheapest layout of a stage that fits a cluster, by the estimate of its memory. Pure: no cluster, store, torch or file.

A GPU's rank is limited by its GPU and, where something is offloaded, by its host; without GPUs the host is the limit.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity, fits, most_ranks, needed, offered
from orchestrator.layouts.layout import Layout, counted
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import Trains, Work, work_of
from orchestrator.stages.stage_specs import StageSpec
from trsp.architecture.shape import ModelShape
from trsp.config import EngineSettings, Offload

USABLE = 0.92  # of a GPU's memory: the estimate may err, and the allocator leaves gaps
FULL_PASS_TOKENS = (
    8192  # that keep a GPU busy: more at once save no time. A CPU is busy with any block
)
MOST_RANKS = 4096  # that a refusal looks through for what would be enough
_GB = 10**9

_OFFLOADS: tuple[tuple[Offload, Offload], ...] = (
    ("none", "none"),
    ("cpu", "none"),
    ("cpu", "cpu"),
)  # optimizer, weights


@dataclass(frozen=True)
class DoesNotFit:
    """No layout of this stage fits: why, and what would be needed, in one line for people."""

    reason: str


def layout_for(
    spec: StageSpec,
    shape: ModelShape | None,
    capacity: Capacity,
    resources: Resources,
    engine: EngineSettings | Literal["auto"] = "auto",
) -> Layout | DoesNotFit:
    """The cheapest layout of the stage that fits ``capacity``, the same for the same arguments.

    Cheapest: nothing offloaded (which costs the most time), then the fewest ranks (other stages run beside it), then the
    lowest ZeRO stage (the least communication), no activation checkpointing (a third of the compute), the largest
    micro-batch. What the user has said is taken as it is: with ``engine`` and ``resources.ranks`` given, nothing is refused.
    ``shape`` None: nothing is known of the model, so no memory is estimated (``memory_bytes`` 0). A memory of 0 in
    ``capacity`` is not known and limits nothing.
    """
    gpus = int(capacity.gpus > 0 if resources.use_gpus == "auto" else resources.use_gpus)
    given = EngineSettings() if engine == "auto" else engine
    first = Layout(
        1 if resources.ranks == "auto" else resources.ranks, resources.cpus_per_rank, gpus, 0, given
    )
    work = work_of(spec)
    if shape is None:
        return first if work.trains is not Trains.NOTHING else replace(first, ranks=1)
    search = _Search(shape, work, capacity, resources, engine, first)
    if work.trains is not Trains.NOTHING and engine != "auto" and resources.ranks != "auto":
        return search.sized(first)
    return search.cheapest() or DoesNotFit(search.refusal())


def runs_on(layout: Layout, work: Work) -> str:
    """For people: the layout of a training, or of one process, which knows no ZeRO stage: ``1 process on 2 GPUs``."""
    if work.trains is not Trains.NOTHING:
        return layout.text
    return f"1 process on {counted(layout.gpus, 'GPU') if layout.gpus else counted(layout.cpus, 'CPU')}"


@dataclass(frozen=True)
class _Search:
    shape: ModelShape
    work: Work
    capacity: Capacity
    resources: Resources
    engine: EngineSettings | Literal["auto"]
    first: Layout

    def cheapest(self) -> Layout | None:
        """The first that fits, in order of cost."""
        ranks = self._ranks()
        candidates = (
            self._candidates(ranks) if self.work.trains is not Trains.NOTHING else self._processes()
        )
        return next((self.sized(each) for each in candidates if self._fits(each)), None)

    def sized(self, layout: Layout) -> Layout:
        """With the memory that a rank takes of its host."""
        return replace(layout, memory_bytes=peak(self.shape, self.work, layout).host.total)

    def _fits(self, layout: Layout) -> bool:
        return self._fits_gpu(layout) and fits(self.capacity, self.sized(layout))

    def _fits_gpu(self, layout: Layout) -> bool:
        limit = self.capacity.gpu_memory_bytes
        return not limit or self._on_gpu(layout) <= USABLE * limit

    def _ranks(self) -> tuple[int, ...]:
        """Numbers of ranks worth a try."""
        if self.resources.ranks != "auto":
            return (self.resources.ranks,)
        there = most_ranks(self.capacity, self.first)
        return _doubling(min(there, self.resources.max_ranks or there))

    def _candidates(self, ranks: tuple[int, ...]) -> Iterator[Layout]:
        for offload in _OFFLOADS if self.first.gpus else _OFFLOADS[:1]:
            for number in ranks:
                for engine in self._engines(number, *offload):
                    yield replace(self.first, ranks=number, engine=engine)

    def _engines(
        self, ranks: int, optimizer: Offload, weights: Offload
    ) -> Iterator[EngineSettings]:
        if self.engine != "auto":
            if optimizer == "none":  # what is offloaded is given, too: once is enough
                yield self.engine
            return
        for stage in self._stages(ranks, optimizer, weights):
            for checkpointing in (False, True):
                for micro_batch in self._micro_batches(ranks):
                    yield EngineSettings(
                        zero_stage=stage,
                        micro_batch=micro_batch,
                        activation_checkpointing=checkpointing,
                        offload_optimizer=optimizer if self._trains_weights else "none",
                        offload_weights=weights,
                    )

    @property
    def _trains_weights(self) -> bool:
        return self.work.trains is Trains.WEIGHTS

    def _stages(self, ranks: int, optimizer: Offload, weights: Offload) -> tuple[int, ...]:
        """ZeRO stages that share out more than the one before; without ranks to share with, none does."""
        if weights != "none":
            return (3,)
        if optimizer != "none":
            return (2, 3) if self._trains_weights else ()
        if ranks == 1:
            return (0,)
        return (1, 2, 3) if self._trains_weights else (0, 3)

    def _micro_batches(self, ranks: int) -> tuple[int, ...]:
        """From the largest that is worth while down to one row."""
        if not self.first.gpus:
            return (1,)
        rows = -(-self.work.rows // ranks)
        return _doubling(max(1, min(rows, FULL_PASS_TOKENS // max(1, self.work.tokens))))[::-1]

    def _processes(self) -> Iterator[Layout]:
        """One process, with as many GPUs of one node as its weights need."""
        most = max((node.gpus for node in self.capacity.nodes), default=self.capacity.gpus)
        for gpus in range(1, max(1, most) + 1) if self.first.gpus else (0,):
            yield replace(self.first, ranks=1, gpus=gpus)

    def refusal(self) -> str:
        """What the least demanding layout would take, what there is, and what would be enough."""
        training = self.work.trains is not Trains.NOTHING
        found = list(
            self._candidates(self._ranks() or (1,)) if training else self._processes()
        ) or [self.first]
        what = f"{self.work.kind} of a model of {self.shape.params / _GB:.2f}B parameters needs"
        on_gpus = [layout for layout in found if self._fits_gpu(layout)]
        if self.first.gpus and not on_gpus:
            least = min(found, key=self._on_gpu)
            on_gpu = f"{self._on_gpu(least) / _GB:.1f} GB on a GPU at the least"
            return f"{what} {on_gpu} ({runs_on(least, self.work)}); {self._enough_gpus()}"
        least = min(on_gpus, key=lambda layout: layout.ranks * self.sized(layout).memory_bytes)
        how = f" ({least.text})" if training else ""
        return (
            f"{what} {needed(self.sized(least))} at the least{how}, and there are {offered(self.capacity)}"
            + (f"; {self._enough_gpus()}" if self.first.gpus else "")
        )

    def _on_gpu(self, layout: Layout) -> int:
        found = peak(self.shape, self.work, layout).gpu
        return found.total if found else 0

    def _enough_gpus(self) -> str:
        """The fewest GPUs of this size that would do without offload."""
        there = f"there are {counted(self.capacity.gpus, 'GPU')} of {self.capacity.gpu_memory_bytes / _GB:.0f} GB"
        if self.work.trains is Trains.NOTHING:
            return f"{there}: it needs larger ones, or more of them in one node"
        plenty = replace(self, resources=self.resources.model_copy(update={"ranks": "auto"}))
        for layout in plenty._candidates(_doubling(MOST_RANKS)):
            if (
                layout.engine.offload_weights == layout.engine.offload_optimizer == "none"
                and self._fits_gpu(layout)
            ):
                return f"{there}: {layout.ranks} would do ({layout.text})"
        return f"{there}, and no number of them would do: it needs larger ones, or a smaller calibration.block_tokens"


def _doubling(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... and ``most`` itself."""
    powers = [1 << power for power in range(most.bit_length()) if 1 << power <= most]
    return tuple(dict.fromkeys(chain(powers, [most] if most > 0 else [])))
