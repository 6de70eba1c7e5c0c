"""How much of a model learns in a training, and how it is shared out over ranks and micro-batches.

Counts of parameters and bytes of one number; what is in memory when is for ``training_memory``.
"""

from dataclasses import dataclass

from orchestrator.layouts.layout import Layout
from orchestrator.layouts.workload import Trains, Work
from trsp.architecture.shape import ModelShape
from trsp.engine.deepspeed_config import effective_stage, sums_in_fp32

FP32_BYTES = 4


@dataclass(frozen=True)
class TrainedParts:
    """What learns of a model, on how many ranks, in how many micro-batches.

    Parameters and numbers are counted; names that end in ``_bytes`` give bytes.
    """

    shape: ModelShape
    work: Work
    layout: Layout

    @property
    def weight_bytes(self) -> int:
        return self.shape.weight_bytes(self.work.precision)

    @property
    def trained(self) -> int:
        """The parameters that learn under the engine; gates do so beside it.

        Those of layers that are left out do not learn.
        """
        if self.work.lora:
            return self.adapters * self.layers // self.shape.layers
        if self.work.trains is not Trains.WEIGHTS:
            return 0
        return self.shape.params - self.work.bypassed * self.shape.layer_params

    @property
    def adapters(self) -> int:
        """The parameters of all layers' adapters."""
        lora = self.work.lora
        return self.shape.lora_params(lora.rank, lora.target_modules) if lora else 0

    @property
    def all_params(self) -> int:
        """All parameters of the model, its adapters included."""
        return self.shape.params + self.adapters

    @property
    def layers(self) -> int:
        """The number of layers that compute."""
        return self.shape.layers - self.work.bypassed

    @property
    def zero_stage(self) -> int:
        return effective_stage(
            self.layout.engine, trains=self.trained > 0, fp32_sums=self.sums_in_fp32
        )

    @property
    def keeps_optimizer(self) -> bool:
        """Whether optimizer states and gradients stay on the rank's own device."""
        return self.layout.engine.offload_optimizer == "none"

    def share(self, numbers: int) -> int:
        """Return one rank's part of what all ranks divide among them, rounded up."""
        return -(-numbers // self.layout.ranks)

    @property
    def sum_bytes(self) -> int:
        """The bytes of one number of a gradient while micro-batches are added up, and after."""
        return FP32_BYTES if self.sums_in_fp32 else self.weight_bytes

    @property
    def gradients_share_bytes(self) -> int:
        """The bytes of one rank's share of all gradients."""
        return self.share(self.trained) * self.sum_bytes

    @property
    def rows_at_once(self) -> int:
        return min(self.layout.engine.micro_batch, self.share(self.work.rows))

    @property
    def accumulates(self) -> bool:
        """Whether a step takes several micro-batches."""
        return self.share(self.work.rows) > self.rows_at_once

    @property
    def sums_in_fp32(self) -> bool:
        """Whether gradients of bf16 weights are added up in fp32."""
        micro_steps = -(-self.share(self.work.rows) // self.rows_at_once)
        bf16 = self.weight_bytes < FP32_BYTES
        return sums_in_fp32(self.layout.engine, bf16=bf16, micro_steps=micro_steps)

    @property
    def sums_all_gradients(self) -> bool:
        """Whether every rank adds up all gradients in one fp32 tensor: ZeRO-1 does."""
        return self.sums_in_fp32 and self.zero_stage == 1 and self.keeps_optimizer
