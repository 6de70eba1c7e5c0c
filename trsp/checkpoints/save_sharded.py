"""``save_pretrained`` for a model that is whole on no rank.

It writes the same files, to the byte, tensor by tensor.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion

from trsp.checkpoints.safetensors_file import Contents, Shape
from trsp.checkpoints.weight_headers import INDEX
from trsp.distributed.collectives import rank
from trsp.distributed.zero3_parameters import whole_numel, whole_shape, whole_tensor


@dataclass(frozen=True)
class _Plan:
    """What is written to which file."""

    tensors: Mapping[str, Tensor]  # by the names that they are saved by
    files: Mapping[str, Mapping[str, Shape]]  # what each file holds, in its order
    index: Mapping[str, Any] | None  # where there are several files


def save_streamed(model: Any, folder: Path, max_shard_size: str) -> None:
    """Write weights, config and generation config to ``folder``.

    Called on all ranks, of which rank 0 alone touches the disk. Peak memory: one whole tensor on
    every rank, and on rank 0 another copy of it in host memory.
    """
    plan = _plan(model, max_shard_size)
    if rank() == 0:
        _write(model, folder, plan)
        return
    for shapes in plan.files.values():
        for name in shapes:  # takes part in gathering, and keeps nothing
            whole_tensor(plan.tensors[name])


def _write(model: Any, folder: Path, plan: _Plan) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.config.dtype = str(model.dtype).removeprefix("torch.")
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    for file, shapes in plan.files.items():
        with (folder / file).open("wb") as stream:
            Contents(shapes, lambda name: whole_tensor(plan.tensors[name]), {"format": "pt"}).write(
                stream
            )
    if plan.index is not None:
        index = json.dumps(plan.index, indent=2, sort_keys=True) + "\n"
        (folder / INDEX).write_text(index, encoding="utf-8")


def _plan(model: Any, max_shard_size: str) -> _Plan:
    """Divide the model's tensors among files.

    Tied weights are saved once, by the first of their names; some families are saved by older names
    than they have.
    """
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
    files = {file: _shapes(names, saved) for file, names in split.filename_to_tensors.items()}
    index = None
    if split.is_sharded:
        total = {"total_parameters": whole_numel(model.parameters()), **split.metadata}
        index = {"metadata": total, "weight_map": split.tensor_to_filename}
    return _Plan({name: tensor_of[each] for name, each in saved.items()}, files, index)


def _shapes(names: list[str], tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """The shapes of a file's tensors, in safetensors' order: wide numbers first, then by name."""
    in_order = sorted(names, key=lambda name: (-tensors[name].dtype.itemsize, name))
    return {name: Shape(tensors[name].dtype, tuple(tensors[name].shape)) for name in in_order}
