"""Models and tokenizers to and from disk or hub, and how large they are.

Nothing here runs code that came with a checkpoint, and nothing is written but safetensors and JSON.
Knows no selection, training or evaluation.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from trsp.architecture.decoders import decoder_layers
from trsp.architecture.families import check_supported
from trsp.architecture.shape import model_shape
from trsp.checkpoints.model_source import local_folder, read_config
from trsp.checkpoints.save_sharded import save_streamed
from trsp.checkpoints.weight_checks import check_weights
from trsp.config import Precision
from trsp.distributed.collectives import broadcast, rank
from trsp.distributed.device import default_device, resolve_dtype
from trsp.distributed.zero3_parameters import is_sharded, whole_numel
from trsp.errors import InvalidInputError, TrspError, UnreachableError, may_pass
from trsp.records import CheckpointRecord

MAX_SHARD_SIZE = "5GB"  # the hub's own limit for a file that its tools handle well
# In what transformers says of tensors that do not fit the config.
_MISMATCH = "ignore_mismatched_sizes"
SHARE_OF_WEIGHTS = 0.8  # of a GPU's memory, at most; the rest is for activations


def load_model(
    source: str,
    revision: str | None = None,
    precision: Precision = "auto",
    *,
    device: torch.device | str | None = None,
) -> PreTrainedModel:
    """Return a causal LM in eval mode on ``device`` (None: this process's default).

    ``precision`` is explained at ``trsp.distributed.device.resolve_dtype``. Without a ``device``,
    a process that is alone with several GPUs spreads a model over them that does not fit the
    first. InvalidInputError, before any weight is read, for a missing folder or config and for a
    model that cannot be pruned (UnknownFamilyError), and for weights of a folder that are missing,
    cut short or not those of its config; afterwards for any other damage. UnreachableError where
    the hub or the file system gives no answer.
    """
    config = read_config(source, revision)
    check_supported(config)
    if (folder := local_folder(source)) is not None:
        check_weights(source, folder, config)
    dtype = resolve_dtype(precision, config.get("dtype", config.get("torch_dtype")))
    spread = device is None and needs_several_gpus(config, dtype)
    model = _read(source, revision, dtype, device_map="auto" if spread else None)
    if not spread:
        model = model.to(device or default_device())
    loaded: PreTrainedModel = model.eval()
    return loaded


def _read(source: str, revision: str | None, dtype: torch.dtype, device_map: str | None) -> Any:
    """The model with its weights, all of them. InvalidInputError where some cannot be read.

    UnreachableError where another attempt may read them.
    """
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            source_path(source),
            revision=revision or "main",
            dtype=dtype,
            device_map=device_map,
            trust_remote_code=False,
            local_files_only=local_folder(source) is not None,
            output_loading_info=True,
        )
    except (OSError, SafetensorError, ValueError) as error:
        raise _unreadable(
            error, f"the weights of {source!r}", "download or export them again"
        ) from error
    except RuntimeError as error:
        if _MISMATCH not in str(error):
            raise
        raise InvalidInputError(
            f"the weights of {source!r} are not of the sizes that its config.json says: {error}; "
            "take both from one checkpoint"
        ) from error
    if missing := sorted(report["missing_keys"]):
        raise incomplete(source, missing)
    return model


def _unreadable(error: Exception, what: str, cure: str) -> TrspError:
    """The refusal of what could not be read; one that may pass where the ``error`` may."""
    if may_pass(error):
        return UnreachableError(f"{what} cannot be read now: {error}; try again")
    return InvalidInputError(f"{what} cannot be read: {error}; {cure}")


def needs_several_gpus(config: Mapping[str, Any], dtype: torch.dtype) -> bool:
    """Whether the first of this process's GPUs cannot hold the weights, and it has several.

    It has one alone where a launcher gave it one.
    """
    if "LOCAL_RANK" in os.environ or torch.cuda.device_count() < 2:
        return False
    free_bytes, _ = torch.cuda.mem_get_info(default_device())
    return model_shape(config).params * dtype.itemsize > SHARE_OF_WEIGHTS * free_bytes


def incomplete(source: str, missing: Sequence[str]) -> InvalidInputError:
    """The refusal of a checkpoint that lacks the tensors ``missing``."""
    return InvalidInputError(
        f"the weights of {source!r} lack {len(missing)} of the model's tensors, the first is "
        f"{missing[0]}; they would be random: take a complete checkpoint"
    )


def load_tokenizer(source: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Return the model's own tokenizer. InvalidInputError where it has none that can be read.

    UnreachableError where the hub or the file system gives no answer.
    """
    folder = local_folder(source)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source_path(source),
            revision=revision or "main",
            trust_remote_code=False,
            local_files_only=folder is not None,
        )
    except MemoryError:
        raise
    except Exception as error:  # tokenizers has no class of its own for a damaged file
        raise _unreadable(
            error,
            f"the tokenizer of {source!r}",
            "put its tokenizer.json and tokenizer_config.json there",
        ) from error
    return tokenizer


def source_path(source: str) -> str:
    """``source`` as transformers takes it: ``~`` expanded for a folder, unchanged for a hub id."""
    folder = local_folder(source)
    return source if folder is None else str(folder)


def save_checkpoint(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    card: str,
    removed_layers: Sequence[int],
    max_shard_size: str = MAX_SHARD_SIZE,
) -> CheckpointRecord:
    """Write weights (safetensors), configs, tokenizer and ``card`` (README.md) to ``folder``.

    Called by all ranks, where there are several: rank 0 alone writes, and all return the same
    record once it has. A sharded model is written tensor by tensor: a rank needs the memory of its
    largest tensor, not of the model. ``removed_layers`` are 0-based in the original; they go into
    the record. A crash leaves an incomplete folder: write to a temporary one and rename it.
    """
    writes = rank() == 0
    if is_sharded(model):
        save_streamed(model, folder, max_shard_size)
    elif writes:
        model.save_pretrained(folder, max_shard_size=max_shard_size)
    if writes:
        tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
        _make_readable(folder)
    return _record(model, removed_layers, broadcast(_weights_bytes(folder) if writes else 0))


def _make_readable(folder: Path) -> None:
    """Let all read the weights: safetensors lets only the owner, useless in a shared store."""
    mode = (folder / "README.md").stat().st_mode
    for shard in folder.glob("*.safetensors"):
        shard.chmod(mode)


def checkpoint_record(
    model: PreTrainedModel, folder: Path, removed_layers: Sequence[int]
) -> CheckpointRecord:
    """The record of a checkpoint that lies in ``folder`` and is loaded as ``model``."""
    return _record(model, removed_layers, _weights_bytes(folder))


def dense_record(model: PreTrainedModel) -> CheckpointRecord:
    """The record of an unpruned model.

    Its size is that of its tensors, which a safetensors file exceeds by some KB.
    """
    size_bytes = sum(whole_numel([each]) * each.element_size() for each in model.parameters())
    return _record(model, (), size_bytes)


def _weights_bytes(folder: Path) -> int:
    return sum(shard.stat().st_size for shard in folder.glob("*.safetensors"))


def _record(
    model: PreTrainedModel, removed_layers: Sequence[int], size_bytes: int
) -> CheckpointRecord:
    """The record of ``model``; a tied tensor counts once, as ``parameters()`` yields it once."""
    kv_values_per_token = model_shape(model.config.to_dict()).kv_values_per_token
    return CheckpointRecord(
        removed_layers=tuple(removed_layers),
        layers=len(decoder_layers(model)),
        params=whole_numel(model.parameters()),
        size_bytes=size_bytes,
        kv_bytes_per_token=kv_values_per_token * model.dtype.itemsize,
    )
