"""What one rank of a stage holds at its peak, by what it is for. Pure arithmetic: no cluster, no choice of layouts.

Bytes everywhere. What DeepSpeed really keeps, its copies and buffers included, was read in its sources and measured:
docs/memory.md explains every term, benchmarks/memory.py compares.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

from orchestrator.layouts.layout import Layout
from orchestrator.layouts.workload import Trains, Work
from trsp.architecture.shape import ModelShape
from trsp.chunk_sizes import LOGITS_AT_ONCE, SCORED_TOKENS
from trsp.engine.deepspeed_config import LARGEST_BUCKET, effective_stage

LIVE_PARAMETERS = 10**9  # that ZeRO-3 keeps gathered (DeepSpeed's stage3_max_live_parameters)
SUB_GROUP = 10**9  # parameters of one rank that ZeRO-3 updates at once (DeepSpeed's sub_group_size)
LOGITS_COPIES = 2  # the logits and their gradient
RUNTIME_BYTES = 650 * 2**20  # Python, torch and DeepSpeed, loaded and warm
GPU_CONTEXT_BYTES = 2 * 2**30  # CUDA's context, its kernels, NCCL's buffers; not measured here
KEPT_BY_LIBC = 1.25  # of what small tensors take: freed, they stay with the process in pieces


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank at its peak. ``gradients``: kept beside the weights; ``live``: of
    single parameters, gathered weights included."""

    weights: int = 0
    gradients: int = 0
    live: int = 0
    optimizer: int = 0
    activations: int = 0
    logits: int = 0
    buffers: int = 0
    runtime: int = 0

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    @property
    def small(self) -> int:
        """In tensors that are small on the host."""
        return self.live + self.activations + self.logits


@dataclass(frozen=True)
class Peak:
    """Of one rank: on its GPU (None: it has none) and on its host."""

    host: Memory
    gpu: Memory | None = None


def peak(shape: ModelShape, work: Work, layout: Layout) -> Peak:
    """Of each rank, and of the only process of a stage that trains nothing: on the host, and on each of its GPUs."""
    if work.trains is Trains.NOTHING:
        phases: tuple[Memory, ...] = (_forward_only(shape, work, max(1, layout.gpus)),)
        offloaded = Memory()
    else:
        training = _Training(shape, work, layout)
        phases, offloaded = training.phases(), training.offloaded()
    if layout.gpus:
        largest = max(phases, key=lambda phase: phase.total)
        host = _sum(offloaded, Memory(buffers=_loading(shape, work, layout), runtime=RUNTIME_BYTES))
        return Peak(host, replace(largest, runtime=GPU_CONTEXT_BYTES))
    return Peak(_on_host([_sum(phase, offloaded) for phase in phases]))


def _loading(shape: ModelShape, work: Work, layout: Layout) -> int:
    """A model that one GPU holds whole comes there by way of the host; others are read share by share."""
    whole = layout.gpus == 1 if work.trains is Trains.NOTHING else layout.engine.zero_stage < 3
    return shape.params * shape.weight_bytes(work.precision) if whole else 0


def _sum(one: Memory, other: Memory) -> Memory:
    return Memory(*(getattr(one, each.name) + getattr(other, each.name) for each in fields(Memory)))


def _on_host(phases: Sequence[Memory]) -> Memory:
    """Large tensors go back to the system when they are freed. Small ones leave the C library holding as much as there ever
    was of them, and gaps.
    """
    large = max(phases, key=lambda phase: phase.total - phase.small)
    small = max(phases, key=lambda phase: phase.small)
    kept = {
        name: round(KEPT_BY_LIBC * getattr(small, name))
        for name in ("live", "activations", "logits")
    }
    return replace(large, **kept, runtime=RUNTIME_BYTES)


def _forward_only(shape: ModelShape, work: Work, gpus: int) -> Memory:
    """Layers are spread over the GPUs, whole; any of them may be the one with the logits."""
    size, tokens = shape.weight_bytes(work.precision), work.tokens * work.rows
    scored = min(tokens, SCORED_TOKENS)
    return Memory(
        weights=-(-shape.params // gpus) * size,
        activations=tokens * _passing(shape, size) + tokens * work.tokens * shape.square_bytes,
        logits=shape.vocabulary * (tokens * size + scored * 2 * 4),
        buffers=shape.kv_values_per_token * work.cached_tokens * size // gpus,
    )


def _passing(shape: ModelShape, size: int) -> int:
    """Of one token: what a layer makes and gives up again."""
    return size * (
        4 * shape.hidden + 4 * shape.intermediate + 2 * shape.query + 2 * shape.key_value
    )


@dataclass(frozen=True)
class _Training:
    shape: ModelShape
    work: Work
    layout: Layout

    @property
    def size(self) -> int:
        return self.shape.weight_bytes(self.work.precision)

    @property
    def stage(self) -> int:
        return effective_stage(self.layout.engine, trains=self.trained > 0)

    @property
    def trained(self) -> int:
        """Parameters that learn under the engine; gates do so beside it."""
        if self.work.lora:
            return self.shape.lora_params(self.work.lora.rank, self.work.lora.target_modules)
        return self.shape.params if self.work.trains is Trains.WEIGHTS else 0

    @property
    def all(self) -> int:
        return self.shape.params + (self.trained if self.work.lora else 0)

    def part(self, numbers: int) -> int:
        return -(-numbers // self.layout.ranks)

    @property
    def rows_at_once(self) -> int:
        return min(self.layout.engine.micro_batch, self.part(self.work.rows))

    @property
    def accumulates(self) -> bool:
        return self.part(self.work.rows) > self.rows_at_once

    def phases(self) -> tuple[Memory, Memory, Memory]:
        """At the end of the forward pass, at the end of the backward pass, and in the optimizer's step."""
        static, gathered = (
            self._static(),
            min(self.all, LIVE_PARAMETERS) * self.size if self.stage == 3 else 0,
        )
        forward = _sum(static, self._activations())
        backward = _sum(static, self._backward())
        return (
            _sum(forward, Memory(live=gathered, gradients=self._accumulated())),
            _sum(backward, Memory(live=gathered)),
            _sum(static, Memory(optimizer=self._step())),
        )

    def _static(self) -> Memory:
        """What is there from the first step's end to the last's."""
        engine = self.layout.engine
        weights = (
            self.all
            if self.stage < 3
            else 0
            if engine.offload_weights != "none"
            else self.part(self.all)
        )
        if engine.offload_optimizer != "none":
            return Memory(
                weights=weights * self.size, buffers=self._bucket() if self.stage == 3 else 0
            )
        if self.stage == 0:
            master = 4 if self.size < 4 else 0  # fp32 weights are their own
            return Memory(weights=weights * self.size, optimizer=self.trained * (master + 8))
        partition = self.part(self.trained)
        return Memory(
            weights=weights * self.size,
            gradients=partition * self.size if self.stage == 3 else 0,
            optimizer=partition * 12,
            buffers=self._bucket() if self.stage == 3 else 0,
        )

    def _bucket(self) -> int:
        """Gradients on their way to other ranks. The host gives memory only for what is written to."""
        size = min(LARGEST_BUCKET, self.all if self.layout.gpus and self.stage else self.trained)
        return size * self.size if self.trained else 0

    def _activations(self) -> Memory:
        """Of the last micro-batch's rows, with what the loss takes."""
        shape, rows = self.shape, self.rows_at_once
        tokens = rows * self.work.tokens
        kept = (
            shape.frozen
            if self.work.trains is Trains.ADAPTERS and not self.work.lora
            else shape.trained
        )
        layer = tokens * (kept.bytes(self.size) + self.work.tokens * shape.square_bytes)
        activations = shape.layers * layer
        if self.layout.engine.activation_checkpointing:
            borders = 1 if kept is shape.trained else 2  # a gate keeps what its layer adds
            activations = shape.layers * tokens * shape.hidden * self.size * borders + layer
        logits = shape.vocabulary * tokens
        copies = LOGITS_COPIES + (
            rows > 1
        )  # cutting off the last token copies, unless there is one row
        return Memory(
            activations=activations + tokens * _passing(shape, self.size),
            logits=logits * self.size * copies + min(logits, LOGITS_AT_ONCE) * 4 * 4,
        )

    def _accumulated(self) -> int:
        """Gradients of the micro-batches before; stage 3 has them among the static."""
        if (
            not self.accumulates
            or self.stage == 3
            or self.layout.engine.offload_optimizer != "none"
        ):
            return 0
        return (self.part(self.trained) if self.stage == 2 else self.trained) * self.size

    def _backward(self) -> Memory:
        """Gradients: all of them, or under stages 2 and 3 those that wait in the bucket."""
        waiting = self.trained if self.stage < 2 else min(self.trained, LARGEST_BUCKET)
        whole = self.stage == 2 and (self.accumulates or waiting < self.trained)
        return Memory(
            live=waiting * self.size,
            gradients=self.part(self.trained) * self.size
            if whole and self.layout.engine.offload_optimizer == "none"
            else 0,
            buffers=self._bucket() if self.stage < 3 else 0,
        )

    def _step(self) -> int:
        """Copies of the gradients: flat, and in fp32. Stage 3 makes them for a billion parameters at a time."""
        if self.layout.engine.offload_optimizer != "none":
            return 0
        raised = 4 if self.size < 4 else 0
        if self.stage == 0:
            return self.trained * (self.size + raised)
        copies = self.size + raised + (self.size if self.stage < 3 else 0)
        return min(self.part(self.trained), SUB_GROUP if self.stage == 3 else self.trained) * copies

    def offloaded(self) -> Memory:
        """On the host, where a GPU's weights or optimizer wait; what lies on NVMe is in nobody's memory."""
        engine, partition = self.layout.engine, self.part(self.trained)
        optimizer = partition * (12 + 4) if engine.offload_optimizer == "cpu" else 0
        gradients = partition * self.size if engine.offload_optimizer == "cpu" else 0
        weights = 2 * self.part(self.all) * self.size if engine.offload_weights == "cpu" else 0
        return Memory(weights=weights, gradients=gradients, optimizer=optimizer)
