"""How an effective batch is shared out to ranks and micro-batches.

The effective batch is given in blocks and fixed. However many ranks there are and however few rows
each takes at once, the weights make the sum over all micro-batches the mean over the effective
batch. Knows rows and weights; no model and no process group.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class BatchShard:
    """The rows of every effective batch of ``blocks`` rows that fall to one rank of ``ranks``.

    It takes at most ``micro_batch`` of them at once.
    """

    blocks: int
    micro_batch: int
    ranks: int
    rank: int

    @property
    def micro_steps(self) -> int:
        """Forward and backward passes per step, equal on all ranks: collectives must match."""
        largest = -(-self.blocks // self.ranks)
        return -(-largest // self.micro_batch)

    @property
    def rows(self) -> range:
        """This rank's rows: contiguous, at most one more or fewer than any other's; may be none."""
        begin = self.rank * self.blocks // self.ranks
        end = (self.rank + 1) * self.blocks // self.ranks
        return range(begin, end)

    def micro_batches(self, blocks_BT: Tensor) -> Iterator[tuple[Tensor, float]]:
        """Yield ``micro_steps`` pairs: rows [b, T] and the factor of their mean loss.

        With these factors, gradients averaged over the ranks are those of the batch's mean loss. A
        rank that has no rows for a pair takes the first row of the batch, with the factor 0.
        """
        mine_BT = blocks_BT[self.rows.start : self.rows.stop]
        for rows_BT in mine_BT.tensor_split(self.micro_steps):
            factor = len(rows_BT) * self.ranks / self.blocks
            yield (rows_BT if len(rows_BT) else blocks_BT[:1]), factor


def batch(blocks_NT: Tensor, step: int, blocks_per_step: int) -> Tensor:
    """The effective batch of step number ``step``: [blocks_per_step, T], going round the blocks."""
    first = step * blocks_per_step
    rows = [row % len(blocks_NT) for row in range(first, first + blocks_per_step)]
    return blocks_NT[rows]
