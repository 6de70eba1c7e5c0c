"""The bytes that a rank holds at its peak, by what they are for, and how they are corrected. Pure.

How an estimate of them comes about is for ``peak`` and ``training_memory`` to know. ``trsp doctor``
measures a small training on a kind of device and keeps the document in the store
(``memory/DEVICE``), by which later estimates are multiplied.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

HOST = "cpu"  # the kind of device that all hosts are
MOST = 2.0  # more than that is no error of an estimate but another defect


@dataclass(frozen=True)
class Memory:
    """Bytes that one rank holds on one device (its host, or one of its GPUs), by what they are for.

    ``gradients`` are those that are kept beside the weights, accumulated over micro-batches.
    ``live`` is what belongs to single parameters for a while: their own gradients, and weights
    gathered from other ranks.
    """

    weights: int = 0
    gradients: int = 0
    live: int = 0
    optimizer: int = 0
    activations: int = 0
    logits: int = 0
    buffers: int = 0
    runtime: int = 0

    def __add__(self, other: "Memory") -> "Memory":
        sums = {each.name: getattr(self, each.name) + getattr(other, each.name) for each in _FIELDS}
        return Memory(**sums)

    @property
    def total(self) -> int:
        return sum(getattr(self, each.name) for each in _FIELDS)

    @property
    def small_tensors(self) -> int:
        """The bytes in tensors that are small on the host, of which the C library keeps gaps."""
        return self.live + self.activations + self.logits


_FIELDS = fields(Memory)


@dataclass(frozen=True)
class Peak:
    """The peak of one rank: on its host, and on each of its GPUs (None: it has none).

    ``snapshot_bytes`` are what a copy of a training's state takes of the host besides. A host that
    has not got them is enough: snapshots are then written while the training waits.
    """

    host: Memory
    gpu: Memory | None = None
    snapshot_bytes: int = 0


@dataclass(frozen=True)
class Correction:
    """By what estimates are multiplied, and the least that a process takes without a model.

    A factor is never below 1: that one small training took less proves nothing for large ones.
    """

    factor: float = 1.0
    runtime_bytes: int = 0

    @property
    def text(self) -> str:
        """What a refusal for lack of memory must say of it; empty where nothing is multiplied."""
        if self.factor == 1:
            return ""
        return (
            f"; the estimate is multiplied by {self.factor:.2f}, as trsp doctor measured on these "
            "devices (memory/ in the store)"
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return what a document of the store says; no correction for any other content."""
        try:
            ratio = document["measured_bytes"] / document["estimated_bytes"]
            return cls(min(MOST, max(1.0, ratio)), int(document["runtime_bytes"]))
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return cls()

    @classmethod
    def largest(cls, corrections: Iterable[Self]) -> Self:
        """Return the correction that suffices for each of several kinds of device."""
        known = tuple(corrections)
        return cls(
            max((each.factor for each in known), default=1.0),
            max((each.runtime_bytes for each in known), default=0),
        )

    def of(self, estimate: Peak) -> Peak:
        """Return the estimate corrected on the device that limits a rank.

        That is its GPU where it has one: what it holds on its host beside that was not measured.
        """
        if estimate.gpu is not None:
            return replace(estimate, gpu=self._applied(estimate.gpu))
        return replace(estimate, host=self._applied(estimate.host))

    def _applied(self, memory: Memory) -> Memory:
        scaled = {name: round(self.factor * value) for name, value in asdict(memory).items()}
        return Memory(**{**scaled, "runtime": max(memory.runtime, self._bounded(memory.runtime))})

    def _bounded(self, runtime_bytes: int) -> int:
        return min(self.runtime_bytes, round(MOST * runtime_bytes))
