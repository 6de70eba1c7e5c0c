"""Sharing out an effective batch: every row counts once, whatever the ranks and micro-batches."""

from fractions import Fraction
from itertools import product

import pytest
import torch

from trsp.training.micro_batches import BatchShard, batch

CASES = [
    pytest.param(*case, id="{} blocks, {} ranks, micro-batch {}".format(*case))
    for case in product((1, 2, 3, 5, 8, 13), (1, 2, 3, 4), (1, 2, 3, 16))
]


@pytest.mark.parametrize(("blocks", "ranks", "micro_batch"), CASES)
def test_every_row_counts_once(blocks: int, ranks: int, micro_batch: int) -> None:
    """A row's weight is its micro-batch's factor by the rows and the ranks that are averaged."""
    blocks_BT = torch.arange(blocks)[:, None]
    weights = dict.fromkeys(range(blocks), Fraction(0))
    shares = [BatchShard(blocks, micro_batch, ranks, rank) for rank in range(ranks)]
    assert len({share.micro_steps for share in shares}) == 1, "collectives must match"
    for share in shares:
        parts = list(share.micro_batches(blocks_BT))
        assert len(parts) == share.micro_steps
        for rows_BT, factor in parts:
            assert 1 <= len(rows_BT) <= micro_batch
            for row in rows_BT.flatten().tolist():
                weights[row] += Fraction(factor).limit_denominator(1000) / len(rows_BT) / ranks
    assert weights == dict.fromkeys(range(blocks), Fraction(1, blocks))


@pytest.mark.parametrize(("blocks", "ranks", "micro_batch"), CASES)
def test_no_pass_is_wasted(blocks: int, ranks: int, micro_batch: int) -> None:
    """As few passes as the largest share needs, and no rank has two rows more than another."""
    shares = [BatchShard(blocks, micro_batch, ranks, rank) for rank in range(ranks)]
    sizes = [len(share.rows) for share in shares]
    assert sum(sizes) == blocks
    assert max(sizes) - min(sizes) <= 1
    assert (
        (shares[0].micro_steps - 1) * micro_batch
        < max(sizes)
        <= shares[0].micro_steps * micro_batch
    )


def test_batches_go_round_the_blocks_in_order() -> None:
    blocks_NT = torch.arange(3)[:, None]
    assert [batch(blocks_NT, step, 2).flatten().tolist() for step in range(3)] == [
        [0, 1],
        [2, 0],
        [1, 2],
    ]
