"""What one rank of a training holds in each phase of a step, under its ZeRO stage, in bytes.

What DeepSpeed really keeps, its copies and buffers included, was read in its sources and measured:
docs/memory.md has the table of all terms. Knows no device: what a GPU's rank has offloaded to its
host is counted apart.
"""

from dataclasses import dataclass
from functools import cached_property

from orchestrator.layouts.layout import Layout
from orchestrator.layouts.memory import Memory
from orchestrator.layouts.workload import FP32_BYTES, TrainedParts, Trains, Work
from trsp.architecture.shape import ModelShape
from trsp.chunk_sizes import logits_at_once
from trsp.engine.deepspeed_config import LARGEST_BUCKET, overlaps_reduction

LIVE_PARAMETERS = 10**9  # that ZeRO-3 keeps gathered (DeepSpeed's stage3_max_live_parameters)
SUB_GROUP = 10**9  # parameters of one rank that ZeRO-3 updates at once (DeepSpeed's sub_group_size)
LOGITS_COPIES = 2  # the logits and their gradient
LOSS_COPIES = 4  # in fp32, of the logits that the loss takes at once
MOMENTS_BYTES = 2 * FP32_BYTES  # Adam's two moments of one parameter


@dataclass(frozen=True)
class TrainingMemory:
    """The memory of each rank of a training: its three phases, and what is offloaded to the host.

    Parameters and numbers are counted; methods that end in ``_bytes``, and those that return a
    ``Memory``, give bytes.
    """

    shape: ModelShape
    work: Work
    layout: Layout

    @cached_property
    def _parts(self) -> TrainedParts:
        return TrainedParts(self.shape, self.work, self.layout)

    def forward(self) -> Memory:
        """Return what a rank holds at the end of a forward pass, with all activations."""
        accumulated = Memory(gradients=self._accumulated_bytes(), live=self._gathered_bytes())
        return self._permanent() + self._activations() + accumulated

    def backward(self) -> Memory:
        """Return what a rank holds at the end of a backward pass, with all gradients."""
        return self._permanent() + self._gradients() + Memory(live=self._gathered_bytes())

    def step(self) -> Memory:
        """Return what a rank holds in the optimizer's step, with its copies of the gradients."""
        return self._permanent() + Memory(optimizer=self._gradient_copies_bytes())

    def offloaded(self) -> Memory:
        """Return what waits on the host for a rank's GPU, or in the same memory without a GPU.

        What lies on NVMe is in nobody's memory.
        """
        engine = self.layout.engine
        weights = gradients = optimizer = 0
        if engine.offload_optimizer == "cpu":
            gradients = self._parts.gradients_share_bytes
            # The weights in fp32 and Adam's moments, and the gradients once more in fp32.
            optimizer = self._parts.share(self._parts.trained) * (
                FP32_BYTES + MOMENTS_BYTES + FP32_BYTES
            )
        if engine.offload_weights == "cpu":
            weights = 2 * self._parts.share(self._parts.all_params) * self._parts.weight_bytes
        return Memory(weights=weights, gradients=gradients, optimizer=optimizer)

    def snapshot_bytes(self) -> int:
        """Return the bytes of a copy on the host of what a rank's GPU holds of a snapshot.

        That is its share of masters and moments, under every ZeRO stage.
        """
        if not self.layout.gpus or not self._parts.keeps_optimizer:
            return 0
        return self._parts.share(self._parts.trained) * (FP32_BYTES + MOMENTS_BYTES)

    # --- what is there from the end of the first step to the end of the last ---

    def _permanent(self) -> Memory:
        """Return what a rank holds in every phase."""
        gradients = optimizer = buffers = 0
        if self._parts.keeps_optimizer:
            optimizer = self._optimizer_states_bytes()
        if self._parts.zero_stage == 3:
            buffers = self._bucket_bytes()
            if self._parts.keeps_optimizer:
                gradients = self._parts.gradients_share_bytes
        if self._parts.sums_all_gradients:
            gradients = self._parts.trained * FP32_BYTES
        weights = self._resident_weights() * self._parts.weight_bytes
        return Memory(weights=weights, gradients=gradients, optimizer=optimizer, buffers=buffers)

    def _resident_weights(self) -> int:
        """Return the number of weights that a rank holds while none are gathered."""
        if self._parts.zero_stage < 3:
            return self._parts.all_params
        if self.layout.engine.offload_weights != "none":
            return 0
        return self._parts.share(self._parts.all_params)

    def _optimizer_states_bytes(self) -> int:
        """Return the bytes of Adam's moments and of the weights in fp32 that it updates.

        Without ZeRO, weights that are fp32 already are updated as they are, without a copy.
        """
        if self._parts.zero_stage > 0:
            return self._parts.share(self._parts.trained) * (FP32_BYTES + MOMENTS_BYTES)
        return self._parts.trained * (self._fp32_copy_bytes + MOMENTS_BYTES)

    @property
    def _fp32_copy_bytes(self) -> int:
        """The bytes of one number's copy in fp32, which what is fp32 already does without."""
        return FP32_BYTES if self._parts.weight_bytes < FP32_BYTES else 0

    def _bucket_bytes(self) -> int:
        """Return the bytes of the bucket in which gradients travel to other ranks, or of its two.

        On a GPU it is as large as the model, up to its limit. The host gives memory only for what
        is written to, which is the gradients.
        """
        if not self._parts.trained:
            return 0
        parts = self._parts
        reserved = self.layout.gpus > 0 and parts.zero_stage > 0
        numbers = parts.all_params if reserved else parts.trained
        gpu_ranks = self.layout.ranks if self.layout.gpus else 0
        overlaps = overlaps_reduction(self.layout.engine, parts.zero_stage, gpu_ranks)
        return (2 if overlaps else 1) * min(LARGEST_BUCKET, numbers) * parts.weight_bytes

    def _gathered_bytes(self) -> int:
        """Return the bytes of the weights that ZeRO-3 has gathered for a pass through the model."""
        if self._parts.zero_stage < 3:
            return 0
        return min(self._parts.all_params, LIVE_PARAMETERS) * self._parts.weight_bytes

    # --- the forward pass ---

    def _activations(self) -> Memory:
        """Return what the rows of the last micro-batch leave behind, with what the loss takes."""
        tokens = self._parts.rows_at_once * self.work.tokens
        passing = tokens * self.shape.passing_per_token * self._parts.weight_bytes
        return Memory(
            activations=self._saved_activations_bytes(tokens) + passing,
            logits=self._logits_bytes(tokens),
        )

    def _saved_activations_bytes(self, tokens: int) -> int:
        """Return the bytes that all layers save of ``tokens`` tokens for their backward pass."""
        shape = self.shape
        only_gates_learn = self.work.trains is Trains.ADAPTERS and not self.work.lora
        saved = shape.saved_if_frozen if only_gates_learn else shape.saved_if_trained
        scores = self.work.tokens * shape.square_bytes
        one_layer = tokens * (saved.bytes(self._parts.weight_bytes) + scores)
        if not self.layout.engine.activation_checkpointing:
            return self._parts.layers * one_layer
        borders = 2 if only_gates_learn else 1  # a gate keeps what its layer adds
        return (
            self._parts.layers * tokens * shape.hidden * self._parts.weight_bytes * borders
            + one_layer
        )

    def _logits_bytes(self, tokens: int) -> int:
        """Return the bytes of the logits of ``tokens`` tokens, and of the loss made of them.

        Cutting off the last token of each row copies the logits, unless there is only one row.
        """
        logits = self.shape.vocabulary * tokens
        copies = LOGITS_COPIES + 1 if self._parts.rows_at_once > 1 else LOGITS_COPIES
        raised = min(logits, logits_at_once(on_gpu=self.layout.gpus > 0))
        return logits * self._parts.weight_bytes * copies + raised * FP32_BYTES * LOSS_COPIES

    def _accumulated_bytes(self) -> int:
        """Return the bytes of the gradients of earlier micro-batches, which wait for the last one.

        Those of ZeRO-3, and fp32 sums under ZeRO-1, are there in every phase, and counted so.
        """
        if (
            not self._parts.accumulates
            or not self._parts.keeps_optimizer
            or self._parts.zero_stage == 3
        ):
            return 0
        if self._parts.sums_all_gradients:
            return 0
        if self._parts.zero_stage == 2:
            return self._parts.gradients_share_bytes
        return self._parts.trained * self._parts.weight_bytes

    # --- the backward pass and the step ---

    def _gradients(self) -> Memory:
        """Return all gradients, or under ZeRO-2 and ZeRO-3 those that wait in the bucket.

        Where ZeRO-1 adds up in fp32, each is freed when it is there: one tensor's, the largest.
        ZeRO-3 raises what was in the bucket to fp32 at once.
        """
        if self._parts.sums_all_gradients:
            largest = min(self._parts.trained, self.shape.embedding_params)
            return Memory(live=largest * self._parts.weight_bytes)
        waiting, share_bytes, buffers = self._parts.trained, 0, 0
        if self._parts.zero_stage >= 2:
            waiting = min(waiting, LARGEST_BUCKET)
        if self._parts.zero_stage < 3:
            buffers = self._bucket_bytes()
        elif self._parts.sums_in_fp32:
            buffers = waiting * FP32_BYTES
        emptied_before = self._parts.accumulates or waiting < self._parts.trained
        if self._parts.zero_stage == 2 and emptied_before and self._parts.keeps_optimizer:
            share_bytes = self._parts.gradients_share_bytes
        return Memory(
            live=waiting * self._parts.weight_bytes, gradients=share_bytes, buffers=buffers
        )

    def _gradient_copies_bytes(self) -> int:
        """Return the bytes of the step's copies of the gradients: flat, and raised to fp32.

        ZeRO-3 makes them for a billion parameters at a time. Sums that are fp32 and flat already
        are used as they are under ZeRO-1 and ZeRO-2.
        """
        if not self._parts.keeps_optimizer:
            return 0
        if self._parts.sums_in_fp32:
            at_once = min(self._parts.share(self._parts.trained), SUB_GROUP)
            return at_once * FP32_BYTES if self._parts.zero_stage == 3 else 0
        copy_bytes = self._parts.weight_bytes + self._fp32_copy_bytes
        if self._parts.zero_stage == 0:
            return self._parts.trained * copy_bytes
        share = self._parts.share(self._parts.trained)
        if self._parts.zero_stage == 3:
            return min(share, SUB_GROUP) * copy_bytes
        return share * (copy_bytes + self._parts.weight_bytes)
