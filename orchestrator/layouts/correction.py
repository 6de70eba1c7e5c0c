"""What was measured on a kind of device, and how it corrects estimates of memory. Pure.

``trsp doctor`` measures a small training and keeps the document in the store (``memory/DEVICE``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from orchestrator.layouts.memory import Memory, Peak

HOST = "cpu"  # the kind of device that all hosts are
MOST = 2.0  # more than that is no error of an estimate but another defect


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
