"""The peak memory of a small training in this process, beside what the estimate says of it.

To be called in a fresh process, with its GPU to itself where it has one: what is measured is all
of it.
"""

import contextlib
import io
from collections.abc import Mapping
from typing import Any

from orchestrator.doctor.findings.facts import TrainingMemory
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import Trains, Work
from orchestrator.stages.stage_specs import StageKind
from trsp.architecture.shape import ModelShape, model_shape
from trsp.config import DriftSettings, EngineSettings

STEPS = 3
DEVICE_WAIT_S = 60.0  # for a measurement of somebody else's, which the training would disturb
_BASE: dict[str, Any] = {"model_type": "llama", "tie_word_embeddings": False}
# The largest that takes less than half of what is free is trained: the terms to be checked should
# be larger than what is there without a model.
GPU_CONFIGS: tuple[Mapping[str, Any], ...] = tuple(
    _BASE
    | {
        "hidden_size": hidden,
        "intermediate_size": 8 * hidden // 3 // 64 * 64,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 64,
        "vocab_size": 32000,
        "max_position_embeddings": 2048,
    }
    for hidden, layers in ((2048, 16), (1024, 12), (512, 8))
)
CPU_CONFIG: Mapping[str, Any] = _BASE | {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 4,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "vocab_size": 8192,
    "max_position_embeddings": 2048,
}
GPU_TOKENS, CPU_TOKENS = 1024, 256  # of the one block in a step


def measure_training(gpus: int, gpu_type: str = "") -> TrainingMemory:
    """Train a small random model, in bf16 under ZeRO 0, and return what that took.

    ``gpus``: how many this process has been given, of Ray's ``gpu_type``. Raises what the training
    raises.
    """
    from trsp.distributed.device import default_device, peak_memory_bytes, reset_peak_memory
    from trsp.distributed.device_lock import share_devices

    _load_libraries()
    device = default_device()
    config, tokens = _choice(_free_bytes(device)) if gpus else (CPU_CONFIG, CPU_TOKENS)
    layout, work = _layout(gpus), _work(tokens)
    estimate = peak(_shape(config), work, layout)
    estimated = estimate.gpu or estimate.host
    before, runtime = _in_use_bytes(device), _runtime_bytes(device)
    reset_peak_memory(device)
    with share_devices(DEVICE_WAIT_S), contextlib.redirect_stdout(io.StringIO()):
        _train(config, tokens, layout.engine)
    measured = peak_memory_bytes(device) - (0 if gpus else before)
    if gpus:  # kernels that were loaded and buffers that libraries took, beside torch's tensors
        runtime = _runtime_bytes(device)
    return TrainingMemory(
        (gpu_type or "gpu") if gpus else "cpu",
        estimated.total - estimated.runtime,
        measured,
        runtime,
        estimated.runtime,
    )


def _load_libraries() -> None:
    """Load what a training loads, so that it counts as there before any model."""
    from transformers import AutoModelForCausalLM  # noqa: F401

    import trsp.transfer  # noqa: F401


def _choice(free_bytes: int) -> tuple[Mapping[str, Any], int]:
    """Return the configuration to train on a GPU with so much free memory, and tokens per block."""
    for config in GPU_CONFIGS[:-1]:
        gpu = peak(_shape(config), _work(GPU_TOKENS), _layout(1)).gpu
        if gpu is not None and gpu.total < free_bytes / 2:
            return config, GPU_TOKENS
    return GPU_CONFIGS[-1], GPU_TOKENS


def _shape(config: Mapping[str, Any]) -> ModelShape:
    return model_shape({**config, "dtype": "bfloat16"})


def _work(tokens: int) -> Work:
    return Work(StageKind.TRANSFER, Trains.WEIGHTS, tokens)


def _layout(gpus: int) -> Layout:
    return Layout(gpus=min(1, gpus), engine=EngineSettings(zero_stage=0))


def _train(config: Mapping[str, Any], tokens: int, engine: EngineSettings) -> None:
    """Run some steps of stage two on random weights and random tokens."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from trsp.distributed.device import default_device, seed_everything
    from trsp.transfer import transfer

    seed_everything(0)
    settings = {name: value for name, value in config.items() if name != "model_type"}
    with default_device():
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(config["model_type"], **settings), dtype=torch.bfloat16
        )
    blocks_BT = torch.randint(config["vocab_size"], (1, tokens))
    transfer(model, [1, 2], blocks_BT, DriftSettings(steps=STEPS, blocks_per_step=1), 0.1, engine)


def _free_bytes(device: Any) -> int:
    """Return the bytes that are free on a GPU."""
    import torch

    return int(torch.cuda.mem_get_info(device)[0])


def _in_use_bytes(device: Any) -> int:
    """Return what this process holds: its resident set on the CPU, nothing of ours on a GPU."""
    from trsp.distributed.device import peak_memory_bytes, reset_peak_memory

    if device.type == "cuda":
        return 0
    reset_peak_memory(device)
    return peak_memory_bytes(device)


def _runtime_bytes(device: Any) -> int:
    """Return what is taken of the device beside tensors; other processes' share counts, too."""
    import torch

    if device.type != "cuda":
        return _in_use_bytes(device)
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    return int(total_bytes - free_bytes - torch.cuda.memory_reserved(device))
