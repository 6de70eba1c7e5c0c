"""The weights of a checkpoint's folder as GGUF has them: names, types and the order of rows.

A tensor is mapped from its file and read when it is written: no more than one is in memory.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGMLQuantizationType, get_tensor_name_map
from numpy.typing import NDArray

from orchestrator.export.gguf_file.hyperparameters import Config, key_heads
from trsp.errors import InvalidInputError

Array = NDArray[Any]

# safetensors' types -> how numpy holds them (bf16 as its bits), and GGUF's
TYPES: dict[str, tuple[type[np.generic], GGMLQuantizationType]] = {
    "BF16": (np.uint16, GGMLQuantizationType.BF16),
    "F16": (np.float16, GGMLQuantizationType.F16),
    "F32": (np.float32, GGMLQuantizationType.F32),
}


@dataclass(frozen=True)
class Weight:
    """One tensor of GGUF: its name and type there, and where its numbers lie."""

    name: str
    stored: Array  # of the file; bf16 as uint16
    kind: GGMLQuantizationType
    heads: int | None  # of a rotary projection whose rows GGUF has in another order

    @property
    def type(self) -> GGMLQuantizationType:
        """GGUF's type: as stored; norms and biases are f32, as ggml computes with them."""
        return self.kind if self.stored.ndim > 1 else GGMLQuantizationType.F32

    def numbers(self) -> Array:
        """Return the numbers as they are written (bf16: their bits as uint16)."""
        array = self.stored if self.heads is None else paired_rows(self.stored, self.heads)
        if self.type == self.kind:
            return np.ascontiguousarray(array)
        if self.kind == GGMLQuantizationType.BF16:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32)


def weights_of(folder: Path, architecture: str, config: Config) -> list[Weight]:
    """Return all weights of a folder of safetensors, under GGUF's names.

    InvalidInputError where one has no name there, or is neither bf16, f16 nor f32.
    """
    names = get_tensor_name_map(_arch(architecture), config["num_hidden_layers"])
    found = []
    for name, kind, stored in _stored(folder):
        told = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if told is None or kind not in TYPES:
            raise InvalidInputError(
                f"--gguf writes bf16, f16 and f32 tensors of {architecture}; {name} is {kind}; "
                "export --to FOLDER instead"
            )
        heads = _rotary_heads(told, config) if architecture == "llama" else None
        found.append(Weight(told, stored, TYPES[kind][1], heads))
    return found


def paired_rows(stored: Array, heads: int) -> Array:
    """Return the rows of a rotary projection in the order of GGUF's llama.

    transformers turns row i of a head with row i + half of it, GGUF neighbours: row i of the first
    half becomes 2 i, of the second 2 i + 1 (llama.cpp's ``LlamaModel.permute``).
    """
    halves = stored.reshape(heads, 2, -1, *stored.shape[1:])
    return halves.swapaxes(1, 2).reshape(stored.shape)


def _arch(name: str) -> MODEL_ARCH:
    return next(arch for arch, known in MODEL_ARCH_NAMES.items() if known == name)


def _rotary_heads(name: str, config: Config) -> int | None:
    """How many heads a llama's query or key projection has; None: it is neither."""
    if ".attn_q." in name:
        return int(config["num_attention_heads"])
    return key_heads(config) if ".attn_k." in name else None


def _stored(folder: Path) -> Iterator[tuple[str, str, Array]]:
    """Yield each tensor of the folder's safetensors files: name, type and the mapped numbers."""
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            dtype = TYPES[entry["dtype"]][0] if entry["dtype"] in TYPES else np.uint8
            shape = entry["shape"] if entry["dtype"] in TYPES else [-1]
            yield name, entry["dtype"], data[begin:end].view(dtype).reshape(shape)
