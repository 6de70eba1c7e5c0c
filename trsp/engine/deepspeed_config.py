"""Our settings in DeepSpeed's words: a plain dict. Knows neither DeepSpeed itself nor a model.

Sizes are in elements, as DeepSpeed counts them.
"""

from typing import Any

from trsp.config import EngineSettings, Offload
from trsp.engine.optimizer_config import OptimizerConfig

LARGEST_BUCKET = 500_000_000  # DeepSpeed's own default; a small model need not allocate as much


def deepspeed_config(
    settings: EngineSettings,
    optimizer_config: OptimizerConfig | None,
    *,
    bf16: bool,
    parameters: int,
    micro_batch: int,
    micro_steps: int,
    pin_memory: bool,
    ranks: int = 1,
) -> dict[str, Any]:
    """Return what ``deepspeed.initialize`` takes as its config.

    ``optimizer_config`` is None where all weights are frozen. ``parameters`` counts the elements of
    the whole model; ``pin_memory`` says whether host memory is worth pinning (there is an
    accelerator).
    """
    trains = optimizer_config is not None
    fp32_sums = trains and sums_in_fp32(settings, bf16=bf16, micro_steps=micro_steps)
    stage = effective_stage(settings, trains=trains, fp32_sums=fp32_sums)
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": micro_steps,
        "zero_optimization": _zero(settings, stage, trains, parameters, pin_memory),
        "bf16": {"enabled": bf16},
        "steps_per_print": 2**31,
    }
    gathers_late = fp32_sums and stage == 1  # another optimizer, which sends once per step
    if trains and not gathers_late and overlaps_reduction(settings, stage, ranks * pin_memory):
        config["zero_optimization"] |= {"overlap_comm": True, "contiguous_gradients": True}
    if fp32_sums:
        config["data_types"] = {"grad_accum_dtype": "fp32"}
        if stage == 1:
            # The sum takes a gradient as soon as it is there, and bf16's is freed.
            config["bf16"]["immediate_grad_update"] = True
            config["communication_data_type"] = "fp32"  # else it is rounded on its way, once a step
    if optimizer_config is not None:
        config["gradient_clipping"] = optimizer_config.max_grad_norm
        config["optimizer"] = {"type": "AdamW", "params": _adamw(optimizer_config)}
    return config


def sums_in_fp32(settings: EngineSettings, *, bf16: bool, micro_steps: int) -> bool:
    """Whether the gradients of a step's micro-batches are added up in fp32 copies.

    In bf16 a sum loses what is below 2^-9 of it, which is much of each of hundreds of terms. An
    optimizer on NVMe keeps bf16: DeepSpeed would write out gradients that are still added to.
    """
    return bf16 and micro_steps > 1 and settings.offload_optimizer != "nvme"


def effective_stage(settings: EngineSettings, *, trains: bool, fp32_sums: bool = False) -> int:
    """The ZeRO stage that the engine runs under.

    Weights that are all frozen leave stages 1 and 2 nothing to partition: they run under stage 0.
    DeepSpeed has no fp32 sums of bf16 gradients (``sums_in_fp32``) under stage 0: that is stage 1
    then, the same computation with the optimizer's states shared out.
    """
    if not trains:
        return 3 if settings.zero_stage == 3 else 0
    return max(1, settings.zero_stage) if fp32_sums else settings.zero_stage


def overlaps_reduction(settings: EngineSettings, stage: int, gpu_ranks: int) -> bool:
    """Whether gradients travel between GPUs while the backward pass goes on, under ``stage``.

    They then wait in two buckets by turns. ZeRO 3 does so of itself. It is left off where the
    optimizer is offloaded: gradients travel to the host as well, by another path of DeepSpeed's.
    """
    return stage in (1, 2) and gpu_ranks > 1 and settings.offload_optimizer == "none"


def _zero(
    settings: EngineSettings, stage: int, trains: bool, parameters: int, pin_memory: bool
) -> dict[str, Any]:
    """The section ``zero_optimization``: the stage, its buckets, and what is offloaded."""
    bucket = min(LARGEST_BUCKET, parameters)
    zero: dict[str, Any] = {
        "stage": stage,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
    }
    if stage == 3 and settings.offload_weights != "none":
        zero["offload_param"] = _offload(settings, settings.offload_weights, pin_memory)
    if trains and settings.offload_optimizer != "none":
        zero["offload_optimizer"] = _offload(settings, settings.offload_optimizer, pin_memory)
    return zero


def _offload(settings: EngineSettings, device: Offload, pin_memory: bool) -> dict[str, Any]:
    offload: dict[str, Any] = {"device": device, "pin_memory": pin_memory}
    if device == "nvme":
        offload["nvme_path"] = settings.nvme_path
    return offload


def _adamw(optimizer_config: OptimizerConfig) -> dict[str, Any]:
    """The parameters of torch's own AdamW, fused.

    DeepSpeed's are compiled at first use, on a GPU by a compiler that few have. Fused, torch's
    needs no temporary copies of the moments and is as fast on the host, where an offloaded
    optimizer runs. The rate is set before each step; until then it is 0, since DeepSpeed may make
    a step of its own while it is built.
    """
    return {
        "lr": 0.0,
        "weight_decay": optimizer_config.weight_decay,
        "torch_adam": True,
        "fused": True,
    }
