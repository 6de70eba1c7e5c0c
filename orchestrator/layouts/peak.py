"""The peak memory of one rank of a stage, on its host and on its GPU, in bytes.

Pure arithmetic: no cluster, no choice of layouts. docs/memory.md explains every term,
benchmarks/memory.py compares with what real ranks take.
"""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.layouts.layout import Layout
from orchestrator.layouts.memory import Memory, Peak
from orchestrator.layouts.training_memory import TrainingMemory
from orchestrator.layouts.workload import Work
from trsp.architecture.shape import ModelShape
from trsp.chunk_sizes import CPU_PASS_TOKENS, scored_logits_at_once

RUNTIME_BYTES = 650 * 2**20  # Python, torch and DeepSpeed, loaded and warm
GPU_CONTEXT_BYTES = 2 * 2**30  # CUDA's context, its kernels, NCCL's buffers; not measured here
_SCORED_COPIES = 2  # in fp32, of the logits that are scored at once
KEPT_BY_LIBC = 1.25  # of what small tensors take: freed, they stay with the process in pieces


def peak(shape: ModelShape, work: Work, layout: Layout) -> Peak:
    """Return the peak memory of each rank of a stage, or of the one process that trains nothing.

    A rank with several GPUs holds as much on each of them as the peak's ``gpu`` says.
    """
    copied = 0
    if work.is_training:
        training = TrainingMemory(shape, work, layout)
        phases = [training.forward(), training.backward(), training.step()]
        offloaded, copied = training.offloaded(), training.snapshot_bytes()
    else:
        phases = [_without_training(shape, work, layout.whole_gpus)]
        offloaded = Memory()
    if not layout.gpus:
        return Peak(_resident_on_host([phase + offloaded for phase in phases]))
    largest = max(phases, key=lambda phase: phase.total)
    loading = Memory(buffers=_loading_bytes(shape, work, layout), runtime=RUNTIME_BYTES)
    besides = max(0, copied - loading.buffers)  # nothing is loaded any more when copies are made
    return Peak(offloaded + loading, replace(largest, runtime=GPU_CONTEXT_BYTES), besides)


def _loading_bytes(shape: ModelShape, work: Work, layout: Layout) -> int:
    """Return the bytes on the host through which a model gets to the GPU that holds it whole.

    They are 0 where no GPU holds it whole: the model is then read share by share.
    """
    whole = layout.engine.zero_stage < 3 if work.is_training else layout.whole_gpus == 1
    return shape.params * shape.weight_bytes(work.precision) if whole else 0


def _resident_on_host(phases: Sequence[Memory]) -> Memory:
    """Return what a process without a GPU holds at its peak, over all phases.

    Large tensors go back to the system when they are freed. Small ones leave the C library
    holding as much as there ever was of them, and gaps.
    """
    most_large = max(phases, key=lambda phase: phase.total - phase.small_tensors)
    most_small = max(phases, key=lambda phase: phase.small_tensors)
    return replace(
        most_large,
        live=round(KEPT_BY_LIBC * most_small.live),
        activations=round(KEPT_BY_LIBC * most_small.activations),
        logits=round(KEPT_BY_LIBC * most_small.logits),
        runtime=RUNTIME_BYTES,
    )


def _without_training(shape: ModelShape, work: Work, gpus: int) -> Memory:
    """Return what a forward pass without gradients takes on each of ``gpus``, or on the host (0).

    Layers are spread over the GPUs, each whole; any of the GPUs may be the one with the logits.
    Of short rows as many are taken at once as keep a CPU busy. Without a model, it is nothing.
    """
    if not work.reads_weights:
        return Memory()
    devices = max(1, gpus)
    weight_bytes = shape.weight_bytes(work.precision)
    tokens = max(work.tokens * work.rows, CPU_PASS_TOKENS if work.tokens else 0)
    logits = shape.vocabulary * tokens
    scored = min(logits, scored_logits_at_once(on_gpu=gpus > 0))
    scores = tokens * work.tokens * shape.square_bytes
    return Memory(
        weights=-(-shape.params // devices) * weight_bytes,
        activations=tokens * shape.passing_per_token * weight_bytes + scores,
        logits=logits * weight_bytes + scored * _SCORED_COPIES * 4,
        buffers=shape.kv_values_per_token * work.cached_tokens * weight_bytes // devices,
    )
