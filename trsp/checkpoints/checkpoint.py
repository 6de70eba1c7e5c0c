"""Models and tokenizers to and from disk or hub, and how large they are.

Nothing here runs code that came with a checkpoint, and nothing is written but safetensors and JSON.
Knows no selection, training or evaluation.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from trsp.architecture.decoders import decoder_layers
from trsp.architecture.families import check_supported
from trsp.architecture.shape import model_shape
from trsp.checkpoints.model_source import local_folder, read_config, source_path
from trsp.checkpoints.reading import Place, read_model, unreadable
from trsp.checkpoints.save_sharded import save_streamed
from trsp.checkpoints.tokenizer_files import TOKENIZER_FILES
from trsp.checkpoints.weight_checks import check_weights
from trsp.checkpoints.weight_headers import INDEX, SINGLE
from trsp.checkpoints.withheld import is_withheld
from trsp.config import Precision
from trsp.distributed.collectives import broadcast, rank
from trsp.distributed.device import default_device, resolve_dtype
from trsp.distributed.finite_weights import check_intact
from trsp.distributed.zero3_parameters import is_sharded, whole_numel
from trsp.records import CheckpointRecord

MAX_SHARD_SIZE = "5GB"  # the hub's own limit for a file that its tools handle well
_SHARDS = "model-[0-9]*-of-[0-9]*.safetensors"
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
    pickled, cut short or not those of its config; afterwards for any other damage.
    UnreachableError where the hub or the file system gives no answer.
    """
    config = read_config(source, revision)
    check_supported(config)
    if (folder := local_folder(source)) is not None:
        check_weights(source, folder, config)
    dtype = resolve_dtype(precision, config.get("dtype", config.get("torch_dtype")))
    spread = device is None and needs_several_gpus(config, dtype)
    place: Place = "auto" if spread else torch.device(device or default_device())
    loaded: PreTrainedModel = read_model(source, revision, dtype, place).eval()
    return loaded


def needs_several_gpus(config: Mapping[str, Any], dtype: torch.dtype) -> bool:
    """Whether the first of this process's GPUs cannot hold the weights, and it has several.

    It has one alone where a launcher gave it one.
    """
    if "LOCAL_RANK" in os.environ or torch.cuda.device_count() < 2:
        return False
    free_bytes, _ = torch.cuda.mem_get_info(default_device())
    return model_shape(config).params * dtype.itemsize > SHARE_OF_WEIGHTS * free_bytes


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
        raise unreadable(
            error,
            f"the tokenizer of {source!r}",
            "put its tokenizer.json and tokenizer_config.json there",
            withheld=lambda: is_withheld(source, revision, TOKENIZER_FILES),
        ) from error
    return tokenizer


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
    record once it has. Weights that lay there are gone before: of an earlier checkpoint in more
    files none is left to be taken for this one's. A sharded model is written tensor by tensor: a
    rank needs the memory of its largest tensor, not of the model. ``removed_layers`` are 0-based in
    the original; they go into the record. A crash leaves an incomplete folder: write to a temporary
    one and rename it. InvalidInputError, on all ranks and before anything is written, for weights
    that are no numbers.
    """
    check_intact(model, "such a checkpoint is not written")
    writes = rank() == 0
    if writes:
        _remove_weights(folder)
    if is_sharded(model):
        save_streamed(model, folder, max_shard_size)
    elif writes:
        model.save_pretrained(folder, max_shard_size=max_shard_size)
    if writes:
        tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
        _make_readable(folder)
    return _record(model, removed_layers, broadcast(_weights_bytes(folder) if writes else 0))


def _remove_weights(folder: Path) -> None:
    """Delete the weights of an earlier checkpoint: every shard, and the index of them."""
    for file in (folder / SINGLE, folder / INDEX, *folder.glob(_SHARDS)):
        file.unlink(missing_ok=True)


def _make_readable(folder: Path) -> None:
    """Let all read the weights: safetensors lets only the owner, useless in a shared store."""
    mode = (folder / "README.md").stat().st_mode
    for shard in folder.glob("*.safetensors"):
        shard.chmod(mode)


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
