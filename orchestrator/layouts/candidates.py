"""The layouts of a stage that are worth a try on a cluster, in order of cost.

Knows no memory: which of them fit is for ``estimate`` to find. Pure: no cluster, store or torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from orchestrator.grid.run_settings import Resources
from orchestrator.layouts.capacity import Capacity, most_ranks
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.workload import Trains, Work
from trsp.chunk_sizes import CPU_STEP_TOKENS, GPU_PASS_TOKENS, rows_per_pass
from trsp.config import EngineSettings, Offload

# Where the optimizer is and where the weights are, the least costly first.
_OFFLOADS: tuple[tuple[Offload, Offload], ...] = (
    ("none", "none"),
    ("cpu", "none"),
    ("cpu", "cpu"),
)


@dataclass(frozen=True)
class Candidates:
    """The layouts of one stage under the user's settings, on a cluster of this capacity.

    ``gpu_type``: of which all GPUs of a layout are to be; empty: any.
    """

    work: Work
    capacity: Capacity
    resources: Resources
    engine: EngineSettings | Literal["auto"]
    gpu_type: str = ""

    @property
    def has_gpus(self) -> bool:
        """Whether the user lets stages have GPUs; by default, where the cluster has any."""
        use_gpus = self.resources.use_gpus
        return self.capacity.gpus > 0 if use_gpus == "auto" else use_gpus

    @property
    def are_given(self) -> bool:
        """Whether the user has said all of a training's layout."""
        given = self.engine != "auto" and self.resources.ranks != "auto"
        return given and self.work.is_training

    @cached_property
    def first(self) -> Layout:
        """The layout that the user has asked for, with one rank where that is left open.

        A stage that trains nothing has one rank in any case, and no GPU where that would not help.
        """
        ranks = self.resources.ranks
        gpus = int(self.has_gpus and not self.work.is_for_cpus)
        return Layout(
            ranks=1 if ranks == "auto" or not self.work.is_training else ranks,
            cpus=self.resources.cpus_per_rank,
            gpus=gpus,
            engine=EngineSettings() if self.engine == "auto" else self.engine,
            gpu_type=self.gpu_type if gpus else "",
        )

    @property
    def _trains_weights(self) -> bool:
        return self.work.trains is Trains.WEIGHTS

    def layouts(self, ranks: tuple[int, ...]) -> Iterator[Layout]:
        """Yield the layouts worth a try in order of cost, trainings on these numbers of ranks."""
        return self._gangs(ranks) if self.work.is_training else self._processes()

    def ranks(self) -> tuple[int, ...]:
        """Return the numbers of ranks worth a try; none where the cluster holds not even one."""
        if self.resources.ranks != "auto":
            return (self.resources.ranks,)
        there = most_ranks(self.capacity, self.first)
        return doubling(min(there, self.resources.max_ranks or there))

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
        """Return micro-batches from the largest that is worth while down to one row.

        On CPUs rows share a pass only through frozen weights: trained ones would need more memory
        for it, and save little (docs/seconds.md).
        """
        if not self.first.gpus and self._trains_weights:
            return (1,)
        rows = -(-self.work.rows // ranks)
        pass_tokens = GPU_PASS_TOKENS if self.first.gpus else CPU_STEP_TOKENS
        busy = rows_per_pass(self.work.tokens, pass_tokens)
        return doubling(max(1, min(rows, busy)))[::-1]

    def _processes(self) -> Iterator[Layout]:
        """Yield the layouts of one process: on no GPU, or on one of a node to all of them.

        What GPUs do not help is on them only where no host would hold it.
        """
        if not self.first.gpus:
            yield self.first
        if not self.has_gpus:
            return
        most = max(node.gpus for node in self.capacity.machines)
        for gpus in range(1, max(1, most) + 1):
            yield replace(self.first, gpus=gpus, gpu_type=self.gpu_type)


def doubling(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4, ... and ``most`` itself; nothing where that is below 1."""
    numbers = []
    number = 1
    while number < most:
        numbers.append(number)
        number *= 2
    return (*numbers, most) if most > 0 else ()
