"""What one rank of a training holds in each phase of a step, under its ZeRO stage, in bytes.

What DeepSpeed really keeps, its copies and buffers included, was read in its sources and measured:
docs/memory.md has the table of all terms. Knows no device: what a GPU's rank has offloaded to its
host is counted apart.
"""

from dataclasses import dataclass

from orchestrator.layouts.layout import Layout
from orchestrator.layouts.memory import Memory
from orchestrator.layouts.workload import Trains, Work
from trsp.architecture.shape import ModelShape
from trsp.chunk_sizes import logits_at_once
from trsp.engine.deepspeed_config import LARGEST_BUCKET, effective_stage

LIVE_PARAMETERS = 10**9  # that ZeRO-3 keeps gathered (DeepSpeed's stage3_max_live_parameters)
SUB_GROUP = 10**9  # parameters of one rank that ZeRO-3 updates at once (DeepSpeed's sub_group_size)
LOGITS_COPIES = 2  # the logits and their gradient
LOSS_COPIES = 4  # in fp32, of the logits that the loss takes at once
FP32_BYTES = 4
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
            gradients = self._gradients_share_bytes
            # The weights in fp32 and Adam's moments, and the gradients once more in fp32.
            optimizer = self._share(self._trained) * (FP32_BYTES + MOMENTS_BYTES + FP32_BYTES)
        if engine.offload_weights == "cpu":
            weights = 2 * self._share(self._all_params) * self._weight_bytes
        return Memory(weights=weights, gradients=gradients, optimizer=optimizer)

    # --- what is trained, and on how many ranks ---

    @property
    def _weight_bytes(self) -> int:
        return self.shape.weight_bytes(self.work.precision)

    @property
    def _trained(self) -> int:
        """The parameters that learn under the engine; gates do so beside it."""
        if self.work.lora:
            return self.shape.lora_params(self.work.lora.rank, self.work.lora.target_modules)
        return self.shape.params if self.work.trains is Trains.WEIGHTS else 0

    @property
    def _all_params(self) -> int:
        """All parameters of the model, its adapters included."""
        return self.shape.params + (self._trained if self.work.lora else 0)

    @property
    def _zero_stage(self) -> int:
        return effective_stage(self.layout.engine, trains=self._trained > 0)

    @property
    def _keeps_optimizer(self) -> bool:
        """Whether optimizer states and gradients stay on the rank's own device."""
        return self.layout.engine.offload_optimizer == "none"

    def _share(self, numbers: int) -> int:
        """Return one rank's part of what all ranks divide among them, rounded up."""
        return -(-numbers // self.layout.ranks)

    @property
    def _gradients_share_bytes(self) -> int:
        """The bytes of one rank's share of all gradients."""
        return self._share(self._trained) * self._weight_bytes

    @property
    def _rows_at_once(self) -> int:
        return min(self.layout.engine.micro_batch, self._share(self.work.rows))

    @property
    def _accumulates(self) -> bool:
        """Whether a step takes several micro-batches."""
        return self._share(self.work.rows) > self._rows_at_once

    # --- what is there from the end of the first step to the end of the last ---

    def _permanent(self) -> Memory:
        """Return what a rank holds in every phase."""
        gradients = optimizer = buffers = 0
        if self._keeps_optimizer:
            optimizer = self._optimizer_states_bytes()
        if self._zero_stage == 3:
            buffers = self._bucket_bytes()
            if self._keeps_optimizer:
                gradients = self._gradients_share_bytes
        weights = self._resident_weights() * self._weight_bytes
        return Memory(weights=weights, gradients=gradients, optimizer=optimizer, buffers=buffers)

    def _resident_weights(self) -> int:
        """Return the number of weights that a rank holds while none are gathered."""
        if self._zero_stage < 3:
            return self._all_params
        if self.layout.engine.offload_weights != "none":
            return 0
        return self._share(self._all_params)

    def _optimizer_states_bytes(self) -> int:
        """Return the bytes of Adam's moments and of the weights in fp32 that it updates.

        Without ZeRO, weights that are fp32 already are updated as they are, without a copy.
        """
        if self._zero_stage > 0:
            return self._share(self._trained) * (FP32_BYTES + MOMENTS_BYTES)
        return self._trained * (self._fp32_copy_bytes + MOMENTS_BYTES)

    @property
    def _fp32_copy_bytes(self) -> int:
        """The bytes of one number's copy in fp32, which what is fp32 already does without."""
        return FP32_BYTES if self._weight_bytes < FP32_BYTES else 0

    def _bucket_bytes(self) -> int:
        """Return the bytes of the bucket in which gradients travel to other ranks.

        On a GPU it is as large as the model, up to its limit. The host gives memory only for what
        is written to, which is the gradients.
        """
        if not self._trained:
            return 0
        reserved = self.layout.gpus > 0 and self._zero_stage > 0
        numbers = self._all_params if reserved else self._trained
        return min(LARGEST_BUCKET, numbers) * self._weight_bytes

    def _gathered_bytes(self) -> int:
        """Return the bytes of the weights that ZeRO-3 has gathered for a pass through the model."""
        if self._zero_stage < 3:
            return 0
        return min(self._all_params, LIVE_PARAMETERS) * self._weight_bytes

    # --- the forward pass ---

    def _activations(self) -> Memory:
        """Return what the rows of the last micro-batch leave behind, with what the loss takes."""
        tokens = self._rows_at_once * self.work.tokens
        passing = tokens * self.shape.passing_per_token * self._weight_bytes
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
        one_layer = tokens * (saved.bytes(self._weight_bytes) + scores)
        if not self.layout.engine.activation_checkpointing:
            return shape.layers * one_layer
        borders = 2 if only_gates_learn else 1  # a gate keeps what its layer adds
        return shape.layers * tokens * shape.hidden * self._weight_bytes * borders + one_layer

    def _logits_bytes(self, tokens: int) -> int:
        """Return the bytes of the logits of ``tokens`` tokens, and of the loss made of them.

        Cutting off the last token of each row copies the logits, unless there is only one row.
        """
        logits = self.shape.vocabulary * tokens
        copies = LOGITS_COPIES + 1 if self._rows_at_once > 1 else LOGITS_COPIES
        raised = min(logits, logits_at_once(on_gpu=self.layout.gpus > 0))
        return logits * self._weight_bytes * copies + raised * FP32_BYTES * LOSS_COPIES

    def _accumulated_bytes(self) -> int:
        """Return the bytes of the gradients of earlier micro-batches, which wait for the last one.

        Those of ZeRO-3 are there in every phase, and counted so.
        """
        if not self._accumulates or not self._keeps_optimizer or self._zero_stage == 3:
            return 0
        if self._zero_stage == 2:
            return self._gradients_share_bytes
        return self._trained * self._weight_bytes

    # --- the backward pass and the step ---

    def _gradients(self) -> Memory:
        """Return all gradients, or under ZeRO-2 and ZeRO-3 those that wait in the bucket."""
        waiting, share_bytes, buffers = self._trained, 0, 0
        if self._zero_stage >= 2:
            waiting = min(waiting, LARGEST_BUCKET)
        if self._zero_stage < 3:
            buffers = self._bucket_bytes()
        emptied_before = self._accumulates or waiting < self._trained
        if self._zero_stage == 2 and emptied_before and self._keeps_optimizer:
            share_bytes = self._gradients_share_bytes
        return Memory(live=waiting * self._weight_bytes, gradients=share_bytes, buffers=buffers)

    def _gradient_copies_bytes(self) -> int:
        """Return the bytes of the step's copies of the gradients: flat, and raised to fp32.

        ZeRO-3 makes them for a billion parameters at a time.
        """
        if not self._keeps_optimizer:
            return 0
        copy_bytes = self._weight_bytes + self._fp32_copy_bytes
        if self._zero_stage == 0:
            return self._trained * copy_bytes
        share = self._share(self._trained)
        if self._zero_stage == 3:
            return min(share, SUB_GROUP) * copy_bytes
        return share * (copy_bytes + self._weight_bytes)
