"""Safetensors files, written tensor by tensor and read range by range: neither end holds more than one tensor's bytes.

The format (huggingface/safetensors): 8 bytes, the header's length; a JSON header of dtypes, shapes and byte ranges; the
data. Knows nothing of what the tensors are for.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

_CODES = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.uint8: "U8",
}
_ALIGNED = 8  # the data begins at a multiple of so many bytes
_METADATA = "__metadata__"


@dataclass(frozen=True)
class Shape:
    """What is known of a tensor before it is there."""

    dtype: torch.dtype
    sizes: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.sizes) * self.dtype.itemsize


def write_tensors(
    stream: BinaryIO,
    shapes: Mapping[str, Shape],
    tensor: Callable[[str], Tensor],
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write ``tensor(name)`` for every name, one after the other, in order; each may be on any device. Returns the bytes."""
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + shape.size_bytes
        header[name] = {
            "dtype": _CODES[shape.dtype],
            "shape": list(shape.sizes),
            "data_offsets": [begin, end],
        }
    encoded = json.dumps(
        header, separators=(",", ":")
    ).encode()  # as safetensors writes it, to the byte
    encoded += b" " * (-len(encoded) % _ALIGNED)
    stream.write(len(encoded).to_bytes(8, "little") + encoded)
    for name, shape in shapes.items():
        found = tensor(name)
        assert (found.dtype, tuple(found.shape)) == (shape.dtype, shape.sizes), (
            f"{name}: {found.dtype} {found.shape}"
        )
        stream.write(_bytes_of(found.detach().cpu().contiguous()))
    return 8 + len(encoded) + end


class TensorFile:
    """A safetensors file that is read where it lies. ``stream``: seekable. ValueError where it is not such a file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        self.metadata: dict[str, str] = header.pop(_METADATA, {})
        self._entries: dict[str, dict[str, Any]] = header
        self._begin = 8 + length

    def names(self) -> Sequence[str]:
        return list(self._entries)

    def numel(self, name: str) -> int:
        return math.prod(self._entries[name]["shape"])

    def read_into(self, name: str, start: int, out: Tensor) -> None:
        """Fill ``out``, a contiguous CPU tensor of the file's dtype, from elements ``start`` on of the flattened tensor."""
        entry = self._entries[name]
        assert _CODES[out.dtype] == entry["dtype"], f"{name} is {entry['dtype']}, not {out.dtype}"
        self._stream.seek(self._begin + entry["data_offsets"][0] + start * out.dtype.itemsize)
        rest = _bytes_of(out)
        while rest:
            count = self._stream.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                raise ValueError(f"{name}: the file ends {len(rest)} bytes early")
            rest = rest[count:]


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor."""
    assert tensor.device.type == "cpu"
    assert tensor.is_contiguous()
    return memoryview(tensor.view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
