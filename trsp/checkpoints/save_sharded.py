"""``save_pretrained`` for a model that is whole on no rank: the same files, to the byte, written tensor by tensor."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion

from trsp.checkpoints.safetensors_file import Shape, write_tensors
from trsp.checkpoints.stored_weights import INDEX
from trsp.distributed.collectives import rank
from trsp.distributed.zero3_parameters import whole_numel, whole_shape, whole_tensor


@dataclass(frozen=True)
class _Plan:
    """``tensors`` by the names they are saved by; what each file holds, in its order; the index, where files are several."""

    tensors: Mapping[str, Tensor]
    files: Mapping[str, Mapping[str, Shape]]
    index: Mapping[str, Any] | None


def save_streamed(model: Any, folder: Path, max_shard_size: str) -> None:
    """Weights, config and generation config into ``folder``. On all ranks, of which rank 0 alone touches the disk.

    Peak memory: one whole tensor on every rank, on rank 0 another copy of it in host memory.
    """
    plan = _plan(model, max_shard_size)
    if rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        model.config.dtype = str(model.dtype).removeprefix("torch.")
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        model.generation_config.save_pretrained(folder)
    for file, shapes in plan.files.items():
        if rank() == 0:
            with (folder / file).open("wb") as stream:
                write_tensors(
                    stream, shapes, lambda name: whole_tensor(plan.tensors[name]), {"format": "pt"}
                )
        else:
            for name in shapes:  # takes part in gathering, and keeps nothing
                whole_tensor(plan.tensors[name])
    if rank() == 0 and plan.index is not None:
        (folder / INDEX).write_text(
            json.dumps(plan.index, indent=2, sort_keys=True) + "\n", encoding="utf-8"
        )


def _plan(model: Any, max_shard_size: str) -> _Plan:
    """Tied weights are saved once, by the first of their names; some families are saved by older names than they have."""
    first_names: dict[Tensor, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        first_names.setdefault(tensor, name)
    empty = {
        name: torch.empty(whole_shape(each), dtype=each.dtype, device="meta")
        for each, name in first_names.items()
    }
    tensor_of = {empty[name]: tensor for tensor, name in first_names.items()}
    saved = revert_weight_conversion(model, empty)
    split = split_torch_state_dict_into_shards(saved, max_shard_size=max_shard_size)
    total = {"total_parameters": whole_numel(model.parameters()), **split.metadata}
    return _Plan(
        tensors={name: tensor_of[each] for name, each in saved.items()},
        files={
            file: {name: _shape(saved[name]) for name in _order(names, saved)}
            for file, names in split.filename_to_tensors.items()
        },
        index={"metadata": total, "weight_map": split.tensor_to_filename}
        if split.is_sharded
        else None,
    )


def _shape(tensor: Tensor) -> Shape:
    return Shape(tensor.dtype, tuple(tensor.shape))


def _order(names: list[str], tensors: Mapping[str, Tensor]) -> list[str]:
    """As safetensors lays them out: wide numbers first, then by name."""
    return sorted(names, key=lambda name: (-tensors[name].dtype.itemsize, name))
