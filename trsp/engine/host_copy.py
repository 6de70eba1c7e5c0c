"""The bytes of a safetensors file, copied to host memory at one moment and written at another.

Knows no model and no engine.
"""

from collections.abc import Iterator
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from trsp.checkpoints.safetensors_file import Contents, bytes_of
from trsp.distributed.device import synchronize

CHUNK_BYTES = 1 << 26  # a power of two: torch rounds pinned memory up to one


class Writable(Protocol):
    """What the bytes of a file go to."""

    def write(self, data: Any, /) -> int: ...


class HostCopy:
    """A copy of what a file is to hold, in host memory (pinned where there is an accelerator).

    It is in chunks, each of which is given back once it is written: to the system or, where it is
    pinned, to torch, which has it ready for the next copy (to pin memory takes longer than to fill
    it).
    """

    def __init__(self, size_bytes: int) -> None:
        """Take the memory of ``size_bytes``. RuntimeError where the host has not got it."""
        pinned = torch.cuda.is_available()
        self.size_bytes, self._filled = size_bytes, 0
        self._chunks = [
            torch.empty(min(CHUNK_BYTES, size_bytes - begin), dtype=torch.uint8, pin_memory=pinned)
            for begin in range(0, size_bytes, CHUNK_BYTES)
        ]

    def fill(self, contents: Contents) -> Self:
        """Copy ``contents`` as they are now, and return this object; later changes do not reach it.

        They have the size that was taken.
        """
        devices = set()
        for part in contents.parts():
            devices.add(part.device)
            self._append(part)
        synchronize(*devices)  # copies from an accelerator are only queued till then
        assert self._filled == self.size_bytes
        return self

    def _append(self, part: Tensor) -> None:
        """Copy a tensor's bytes, on any device, behind those that are there."""
        flat = part.contiguous().view(-1).view(torch.uint8)
        for room in self._rooms(flat.numel()):
            room.copy_(flat[: len(room)], non_blocking=True)
            flat = flat[len(room) :]

    def _rooms(self, count: int) -> Iterator[Tensor]:
        """Yield the next ``count`` bytes of the memory, part by part."""
        while count:
            number, begin = divmod(self._filled, CHUNK_BYTES)
            room = self._chunks[number][begin : begin + count]
            self._filled, count = self._filled + len(room), count - len(room)
            yield room

    def write(self, stream: Writable) -> int:
        """Write the file, once, and return its bytes. The memory is given back meanwhile."""
        self._chunks.reverse()
        while self._chunks:
            stream.write(bytes_of(self._chunks.pop()))
        return self.size_bytes
