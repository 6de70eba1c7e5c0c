"""How an effective batch is shared out to ranks and micro-batches. Knows rows and weights; no model and no process group.

The effective batch is given in blocks and fixed. However many ranks there are and however few rows each takes at once, the
weights make the sum over all micro-batches the mean over the effective batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class BatchShard:
    """What one of ``ranks`` does of every effective batch of ``blocks`` rows, at most ``micro_batch`` of them at once."""

    blocks: int
    micro_batch: int
    ranks: int
    rank: int

    @property
    def micro_steps(self) -> int:
        """Forward and backward passes of a step: the same on all ranks, since collectives must match."""
        largest = -(-self.blocks // self.ranks)
        return -(-largest // self.micro_batch)

    @property
    def rows(self) -> range:
        """This rank's rows: contiguous, and at most one more or fewer than any other's. May be none."""
        return range(
            self.rank * self.blocks // self.ranks, (self.rank + 1) * self.blocks // self.ranks
        )

    def micro_batches(self, blocks_BT: Tensor) -> Iterator[tuple[Tensor, float]]:
        """``micro_steps`` pairs: rows [b, T] and the factor of their mean loss, where gradients are averaged over the ranks.

        A rank that has no rows for one takes the first row of the batch, with the factor 0.
        """
        mine_BT = blocks_BT[self.rows.start : self.rows.stop]
        for rows_BT in mine_BT.tensor_split(self.micro_steps):
            factor = len(rows_BT) * self.ranks / self.blocks
            yield (rows_BT if len(rows_BT) else blocks_BT[:1]), factor


def batch(blocks_NT: Tensor, step: int, blocks_per_step: int) -> Tensor:
    """Rows of an effective batch: [blocks_per_step, T], going round the N blocks in order."""
    rows: Sequence[int] = [
        (step * blocks_per_step + i) % len(blocks_NT) for i in range(blocks_per_step)
    ]
    return blocks_NT[rows]
