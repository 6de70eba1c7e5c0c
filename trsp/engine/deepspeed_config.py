"""Our settings in DeepSpeed's words: a plain dict. Knows neither DeepSpeed itself nor a model.

Sizes are in elements, as DeepSpeed counts them.
"""

from typing import Any

from trsp.config import EngineSettings, Offload
from trsp.engine.optimizer_config import OptimizerConfig

LARGEST_BUCKET = 500_000_000  # DeepSpeed's own default; a small model need not allocate as much


def deepspeed_config(
    settings: EngineSettings,
    optimization: OptimizerConfig | None,
    *,
    bf16: bool,
    parameters: int,
    micro_batch: int,
    micro_steps: int,
    pin_memory: bool,
) -> dict[str, Any]:
    """``optimization`` None: frozen weights. ``parameters``: of the whole model; ``pin_memory``: whether host memory is worth
    pinning (there is an accelerator).
    """
    bucket = min(LARGEST_BUCKET, parameters)
    stage = effective_stage(settings, trains=optimization is not None)
    zero: dict[str, Any] = {
        "stage": stage,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
    }
    if stage == 3 and settings.offload_weights != "none":
        zero["offload_param"] = _offload(settings.offload_weights, settings.nvme_path, pin_memory)
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": micro_steps,
        "zero_optimization": zero,
        "bf16": {"enabled": bf16},
        "steps_per_print": 2**31,
    }
    if optimization:
        if settings.offload_optimizer != "none":
            zero["offload_optimizer"] = _offload(
                settings.offload_optimizer, settings.nvme_path, pin_memory
            )
        config["gradient_clipping"] = optimization.max_grad_norm
        config["optimizer"] = {"type": "AdamW", "params": _adamw(optimization)}
    return config


def effective_stage(settings: EngineSettings, *, trains: bool) -> int:
    """The ZeRO stage that the engine runs under: weights that are all frozen leave 1 and 2 nothing to partition."""
    return settings.zero_stage if trains or settings.zero_stage == 3 else 0


def _offload(where: Offload, nvme_path: str | None, pin_memory: bool) -> dict[str, Any]:
    place: dict[str, Any] = {"device": where, "pin_memory": pin_memory}
    return place | {"nvme_path": nvme_path} if where == "nvme" else place


def _adamw(optimization: OptimizerConfig) -> dict[str, Any]:
    """Torch's own, fused: DeepSpeed's are compiled at first use, on a GPU by a compiler that few have.

    Fused, it needs no temporary copies of the moments and is as fast on the host, where an offloaded optimizer runs. The
    rate is set before each step; until then it is 0, since DeepSpeed may make a step of its own while it is built.
    """
    return {
        "lr": 0.0,
        "weight_decay": optimization.weight_decay,
        "torch_adam": True,
        "fused": True,
    }
