"""Settings of the engine: how a stage is computed, never what."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from trsp.config.settings import Settings

Offload = Literal["none", "cpu", "nvme"]


class EngineSettings(Settings):
    """How a stage is computed, never what: none of this is part of a content key."""

    zero_stage: Annotated[int, Field(ge=0, le=3)] = Field(
        2,
        description="DeepSpeed's ZeRO stage, what ranks share out: 0 nothing, 1 the optimizer's "
        "states, 2 also gradients, 3 also weights",
        examples=[3],
    )
    micro_batch: PositiveInt = Field(
        1,
        description="blocks per forward pass on one rank; the rest of the effective batch is "
        "accumulated. More are faster and take more memory",
        examples=[4],
    )
    activation_checkpointing: bool = Field(
        False,
        description="keep only each layer's input and compute the rest again in the backward "
        "pass: less memory, one more forward pass per step",
        examples=[True],
    )
    offload_optimizer: Offload = Field(
        "none",
        description="where the optimizer's states live. none: on the GPU; cpu: in host memory "
        "(ZeRO 1 to 3); nvme: on nvme_path (ZeRO 3)",
        examples=["cpu"],
    )
    offload_weights: Offload = Field(
        "none",
        description="where weights wait for their layer's turn: none, cpu or nvme (ZeRO 3)",
        examples=["cpu"],
    )
    nvme_path: str | None = Field(
        None,
        description="folder on each node's local disk, needed for offload to nvme; default: none",
        examples=["/local/nvme"],
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        lowest_stage = {"none": 0, "cpu": 1, "nvme": 3}[self.offload_optimizer]
        if self.zero_stage < lowest_stage:
            raise ValueError(
                f"offload_optimizer: {self.offload_optimizer} with zero_stage {self.zero_stage}; "
                "cpu needs ZeRO 1 to 3, nvme ZeRO 3"
            )
        if self.offload_weights != "none" and self.zero_stage < 3:
            raise ValueError(
                f"offload_weights: {self.offload_weights} with zero_stage {self.zero_stage}; "
                "it needs ZeRO 3"
            )
        if "nvme" in (self.offload_optimizer, self.offload_weights) and not self.nvme_path:
            raise ValueError("offload to nvme needs nvme_path, a folder on each node's local disk")
        return self


def lora_refusal(engine: EngineSettings) -> str | None:
    """Return why adapters cannot be trained under ``engine``, and the cure; None where they can.

    They are merged into the weights at the end, which must be in memory for that.
    """
    if engine.offload_weights != "nvme":
        return None
    return (
        "lora with offload_weights: nvme: adapters cannot be merged into weights on NVMe; set "
        "engine.offload_weights to cpu or none, or train all weights (no lora)"
    )
