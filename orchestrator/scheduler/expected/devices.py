"""What CPU cores and GPUs do in a second, about, at what our stages make of them. Pure data.

The first results of a grid correct all of it; what counts before is how stages compare with each
other, and how GPUs do.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.layouts.layout import Layout

# Of what a data sheet promises: of dense bf16 operations, and of bytes from memory.
_OPERATIONS_SHARE, _BYTES_SHARE = 0.32, 0.5


@dataclass(frozen=True)
class Rates:
    """What one device does in a second: floating-point operations in bf16, bytes from memory."""

    operations: float
    bytes: float


@dataclass(frozen=True)
class GpuType:
    """A GPU by its data sheet, dense and in bf16 (in fp16 where it has no bf16)."""

    memory_bytes: int
    operations: float
    bytes: float

    @property
    def rates(self) -> Rates:
        """What our stages make of it."""
        return Rates(_OPERATIONS_SHARE * self.operations, _BYTES_SHARE * self.bytes)


def _gpu(memory_gb: int, teraflops: float, gb_per_s: float) -> GpuType:
    return GpuType(memory_gb * 10**9, teraflops * 1e12, gb_per_s * 1e9)


# By Ray's names for types of accelerator, as far as it has one.
GPU_TYPES: Mapping[str, GpuType] = {
    "A10G": _gpu(24, 70, 600),
    "A100": _gpu(80, 312, 2039),
    "A100-40G": _gpu(40, 312, 1555),
    "A100-80G": _gpu(80, 312, 2039),
    "B200": _gpu(180, 2250, 8000),
    "H100": _gpu(80, 989, 3350),
    "H200": _gpu(141, 989, 4800),
    "L4": _gpu(24, 121, 300),
    "L40S": _gpu(48, 362, 864),
    "RTX3090": _gpu(24, 71, 936),
    "RTX4090": _gpu(24, 165, 1008),
    "T4": _gpu(16, 65, 320),
    "V100": _gpu(32, 125, 900),
}
CORE = Rates(1e11, 1e10)
ANY_GPU = Rates(1e14, 1e12)  # of which nothing is known: an A100, about
_LONGEST_FIRST = sorted(GPU_TYPES, key=len, reverse=True)


def rates_of(layout: Layout) -> Rates:
    """Return the rates of each of a layout's devices: of a whole GPU, or of a core without any."""
    if not layout.gpus:
        return CORE
    known = GPU_TYPES.get(layout.gpu_type)
    return known.rates if known else ANY_GPU


def type_of_device(device: str) -> str:
    """Return the type of a GPU by the name that its driver gives it; "" where none is known.

    ``NVIDIA H100 80GB HBM3`` is an H100, ``NVIDIA GeForce RTX 4090`` an RTX4090.
    """
    words = re.sub(r"(RTX) ", r"\1", device)
    found = (name for name in _LONGEST_FIRST if re.search(rf"\b{name}\b", words))
    return next(found, "")
