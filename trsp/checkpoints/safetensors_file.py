"""Safetensors files, written tensor by tensor and read range by range.

Neither end holds more than one tensor's bytes. The format (huggingface/safetensors): 8 bytes, the
header's length; a JSON header of dtypes, shapes and byte ranges; the data. Knows nothing of what
the tensors are for.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
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
_LENGTH_BYTES = 8  # of the header's length
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


@dataclass(frozen=True)
class Contents:
    """What a file is to hold: ``tensor(name)``, on any device, for every name of ``shapes``.

    They are asked for in that order, and one is there at a time.
    """

    shapes: Mapping[str, Shape]
    tensor: Callable[[str], Tensor]
    metadata: Mapping[str, str] | None = None

    @property
    def size_bytes(self) -> int:
        """The bytes of the whole file."""
        header = len(_header(self.shapes, self.metadata))
        return header + sum(shape.size_bytes for shape in self.shapes.values())

    def parts(self) -> Iterator[Tensor]:
        """Yield the file part by part: its beginning as bytes, then each tensor."""
        yield torch.frombuffer(bytearray(_header(self.shapes, self.metadata)), dtype=torch.uint8)
        for name, shape in self.shapes.items():
            given = self.tensor(name)
            assert (given.dtype, tuple(given.shape)) == (shape.dtype, shape.sizes), (
                f"{name}: {given.dtype} {given.shape}"
            )
            yield given.detach()

    def write(self, stream: BinaryIO) -> int:
        """Write the file; return its bytes."""
        for part in self.parts():
            stream.write(bytes_of(part.cpu().contiguous()))
        return self.size_bytes


def _header(shapes: Mapping[str, Shape], metadata: Mapping[str, str] | None) -> bytes:
    """The header and its length, as safetensors writes them, to the byte."""
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + shape.size_bytes
        header[name] = {
            "dtype": _CODES[shape.dtype],
            "shape": list(shape.sizes),
            "data_offsets": [begin, end],
        }
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % _ALIGNED)
    return len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded


class TensorFile:
    """A safetensors file that is read where it lies, from a seekable ``stream``.

    ValueError where it is not such a file.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        header = json.loads(stream.read(length))
        self.metadata: dict[str, str] = header.pop(_METADATA, {})
        self._entries: dict[str, dict[str, Any]] = header
        self._begin = _LENGTH_BYTES + length

    def names(self) -> Sequence[str]:
        """The tensors' names, in the file's order."""
        return list(self._entries)

    def numel(self, name: str) -> int:
        """The number of elements of a tensor."""
        return math.prod(self._entries[name]["shape"])

    def read_into(self, name: str, start: int, out: Tensor) -> None:
        """Fill ``out`` from element ``start`` on of the flattened tensor ``name``.

        ``out`` is a contiguous CPU tensor of the file's dtype. ValueError where the file ends
        early.
        """
        entry = self._entries[name]
        assert _CODES[out.dtype] == entry["dtype"], f"{name} is {entry['dtype']}, not {out.dtype}"
        self._stream.seek(self._begin + entry["data_offsets"][0] + start * out.dtype.itemsize)
        rest = bytes_of(out)
        while rest:
            count = self._stream.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                raise ValueError(f"{name}: the file ends {len(rest)} bytes early")
            rest = rest[count:]


def bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor, as what a stream writes or fills."""
    assert tensor.device.type == "cpu"
    assert tensor.is_contiguous()
    return memoryview(tensor.view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
