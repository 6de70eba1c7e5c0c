"""Records of the bytes that one rank of a stage holds at its peak, by what they are for.

Counts alone: how they come about is for ``peak`` and ``training_memory`` to know.
"""

from dataclasses import asdict, dataclass, fields


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
        return sum(asdict(self).values())

    @property
    def small_tensors(self) -> int:
        """The bytes in tensors that are small on the host, of which the C library keeps gaps."""
        return self.live + self.activations + self.logits


_FIELDS = fields(Memory)


@dataclass(frozen=True)
class Peak:
    """The peak of one rank: on its host, and on each of its GPUs (None: it has none)."""

    host: Memory
    gpu: Memory | None = None
