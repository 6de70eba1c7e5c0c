"""Models whose weights are whole on no rank: every parameter is a ZeRO-3 partition from birth.

Under a launcher, on all ranks; without one, this process is the only rank. Saving them is for
``trsp.checkpoints.checkpoint``, training them for ``trsp.engine.engine``.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import rename_source_key

from trsp.architecture.families import check_supported
from trsp.checkpoints.completeness import check_complete
from trsp.checkpoints.model_source import local_folder, read_config, source_path
from trsp.checkpoints.stored_weights import StoredWeights
from trsp.config import EngineSettings, Precision
from trsp.distributed.device import default_device, resolve_dtype
from trsp.engine.deepspeed_runtime import check_offload, init_distributed, partitioner
from trsp.errors import InvalidInputError


def load_sharded(
    source: str,
    revision: str | None = None,
    precision: Precision = "auto",
    engine: EngineSettings | None = None,
) -> PreTrainedModel:
    """Return a causal LM in eval mode, spread over all ranks, for an ``Engine`` with ZeRO 3.

    Called on every rank. Everything but the weights is as ``load_model`` gives it. A rank reads
    from disk the share of each tensor that it keeps, and there is no communication. It needs the
    memory of its share, and of one tensor where ``precision`` is not the file's own. With
    ``engine.offload_weights`` the shares lie there (host memory, NVMe). Safetensors only. Errors
    are those of ``load_model``, and InvalidInputError for an ``engine`` that cannot train it.
    """
    engine = engine or EngineSettings(zero_stage=3)
    _check(engine)
    config = read_config(source, revision)
    check_supported(config)
    dtype = resolve_dtype(precision, config.get("dtype", config.get("torch_dtype")))
    init_distributed()
    model = _without_weights(source, revision, dtype)
    files = StoredWeights(source, revision)
    _fill(model, files, source, partitioner(engine, dtype))
    loaded: PreTrainedModel = model.to(default_device()).eval()
    return loaded


def _check(engine: EngineSettings) -> None:
    """Refuse settings that cannot train a sharded model, or not on this machine."""
    if engine.zero_stage != 3:
        raise InvalidInputError(
            f"zero_stage {engine.zero_stage} for weights spread over the ranks; they need ZeRO 3: "
            "set engine.zero_stage to 3, or load the model whole"
        )
    check_offload(engine)


def _without_weights(source: str, revision: str | None, dtype: torch.dtype) -> Any:
    """The model with its buffers, and parameters that have a shape only."""
    where = {"revision": revision or "main", "local_files_only": local_folder(source) is not None}
    config = AutoConfig.from_pretrained(source_path(source), trust_remote_code=False, **where)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    model.tie_weights()  # the context made a parameter of its own for every name
    # Where the checkpoint has none, the model keeps the one that follows from its config.
    with contextlib.suppress(OSError):
        model.generation_config = GenerationConfig.from_pretrained(source_path(source), **where)
    return model


def _fill(
    model: Any, files: StoredWeights, source: str, partition: Callable[[nn.Parameter], None]
) -> None:
    """Give every parameter its stored values, as a partition."""
    for names, stored in _stored_names(model, files, source):
        born = nn.Parameter(_read(files, stored, model.get_parameter(names[0])))
        partition(born)
        for name in names:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, born)


def _stored_names(
    model: Any, files: StoredWeights, source: str
) -> Sequence[tuple[Sequence[str], Sequence[str]]]:
    """For each parameter, its names in the model and those it has in the checkpoint.

    Tied weights have several. InvalidInputError where the checkpoint lacks a parameter, or holds
    more than the model has a place for.
    """
    stored = _stored_by_model_name(model, files)
    pairs = [(names, [stored[name] for name in names if name in stored]) for names in _names(model)]
    missing = [names[0] for names, tensors in pairs if not tensors]
    check_complete(model, source, missing, stored.keys() - model.state_dict().keys())
    return pairs


def _stored_by_model_name(model: Any, files: StoredWeights) -> Mapping[str, str]:
    """The stored tensors' names, by the model's.

    A stored name may be an older one, or lack the base model's prefix: it is taken as transformers
    takes it.
    """
    wanted = model.state_dict()
    renamings = get_model_conversion_mapping(model)
    stored = {}
    for name in files.names:
        renamed, _ = rename_source_key(name, renamings, [], model.base_model_prefix, wanted)
        if renamed not in wanted:
            renamed, _ = rename_source_key(name, [], [], model.base_model_prefix, wanted)
        stored[renamed] = name
    # transformers undoes them when it saves
    model._weight_conversions = [each for each in renamings if each.was_used()]
    return stored


def _names(model: nn.Module) -> list[list[str]]:
    """The names of each parameter, in the model's order."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    return list(names.values())


def _read(files: StoredWeights, stored: Sequence[str], wanted: nn.Parameter) -> Tensor:
    """The values of a parameter in the model's dtype.

    InvalidInputError where it has another shape, or tied weights that were stored twice differ.
    """
    tensor, *others = (files.read(name) for name in stored)
    if tensor.shape != wanted.shape:
        raise InvalidInputError(
            f"tensor {stored[0]} has the shape {list(tensor.shape)}, the config asks for "
            f"{list(wanted.shape)}; take config.json and weights from one checkpoint"
        )
    if not all(torch.equal(tensor, other) for other in others):
        raise InvalidInputError(
            f"tensors {' and '.join(stored)} differ, but the config ties them; "
            "set tie_word_embeddings to false in config.json"
        )
    return tensor.to(wanted.dtype)
