"""Low-rank adapters on the linear modules of the decoder layers, and their merging.

The only file that imports peft. An adapter adds ``alpha / rank * B A x`` to what its module gives.
A is random, the same on every rank; B starts at 0. Knows models as a whole or as ZeRO-3 partitions;
nothing of training.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, distributed, nn
from transformers.pytorch_utils import Conv1D

from trsp.architecture.decoders import decoder_layers
from trsp.config import LoraSettings
from trsp.distributed.zero3_parameters import is_partitioned
from trsp.errors import InvalidInputError, unknown_name
from trsp.training.model_restore import ModelRestorer

_NAME = "trsp"
_SEED = 0  # of the adapters' first weights: adapters are a function of the settings alone


@contextmanager
def adapted(model: Any, settings: LoraSettings | None) -> Iterator[list[nn.Parameter] | None]:
    """Give ``model`` adapters within the block, and yield their parameters.

    Without ``settings`` nothing is done, and None is yielded. Where the block ends without an
    error, the adapters are merged into the weights (in fp32, rounded once); after one they are
    dropped. Either way the model is plain again. There is no communication, but for partitioned
    weights every rank must have whole adapters by then. InvalidInputError for names of modules
    that no layer has.
    """
    if settings is None:
        yield None
        return
    names = _targets(model, settings)
    restorer = ModelRestorer(model)
    _inject(model, settings, names)
    adapters = {name: model.get_submodule(name) for name in names}
    try:
        yield [parameter for adapter in adapters.values() for parameter in _parameters(adapter)]
        with torch.no_grad():
            for adapter in adapters.values():
                _merge(adapter)
    finally:
        restorer.restore()


def _targets(model: Any, settings: LoraSettings) -> list[str]:
    """Full names of the modules that get an adapter."""
    stack = decoder_layers(model)
    inside = {
        name for name, module in stack.named_modules() if isinstance(module, nn.Linear | Conv1D)
    }
    if settings.target_modules != "all-linear":
        known = {name.rpartition(".")[2] for name in inside}
        if unknown := [name for name in settings.target_modules if name not in known]:
            raise InvalidInputError(
                f"lora.target_modules: {unknown_name('linear module', unknown[0], known)}"
            )
        inside = {name for name in inside if name.rpartition(".")[2] in settings.target_modules}
    (prefix,) = (name for name, module in model.named_modules() if module is stack)
    return sorted(f"{prefix}.{name}" for name in inside)


def _inject(model: Any, settings: LoraSettings, names: Sequence[str]) -> None:
    """Give modules adapters in the model's precision; fp32 masters are the optimizer's, as ever."""
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules="|".join(re.escape(name) for name in names),
        # Conv1D keeps its weight transposed.
        fan_in_fan_out=isinstance(model.get_submodule(names[0]), Conv1D),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        inject_adapter_in_model(config, model, _NAME)
    for name in names:
        for parameter in _parameters(model.get_submodule(name)):
            parameter.data = parameter.data.to(model.dtype)


def _parameters(adapter: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """The weights of A and B."""
    assert isinstance(adapter, LoraLayer)
    return adapter.lora_A[_NAME].weight, adapter.lora_B[_NAME].weight


def _merge(adapter: Any) -> None:
    """Set W to ``W + alpha / rank * B A``; of a partitioned W, the part that this rank keeps."""
    a, b = (parameter.float() for parameter in _parameters(adapter))
    delta = adapter.scaling[_NAME] * (b @ a)
    weight = adapter.get_base_layer().weight
    if adapter.fan_in_fan_out:
        delta = delta.T
    if is_partitioned(weight):
        weight, delta = _part(weight, delta.flatten())
    weight.copy_(weight.float() + delta.to(weight.device))


def _part(weight: Any, values_N: Tensor) -> tuple[Tensor, Tensor]:
    """What this rank keeps of a weight, without padding, and the same elements of ``values_N``."""
    start = weight.ds_tensor.numel() * distributed.get_rank()
    part = values_N[start : start + weight.ds_tensor.numel()]
    kept: Tensor = weight.ds_tensor[: len(part)]
    return kept, part
