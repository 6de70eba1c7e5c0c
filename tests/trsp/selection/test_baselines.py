"""The controls, which look at nothing."""

from tests.tiny import LAYERS
from tests.trsp.selection.rankings import order, rounds
from trsp.config import RandomSettings, ReverseSettings


def test_reverse_is_deepest_first_and_keeps_the_last() -> None:
    assert order(rounds(ReverseSettings(), LAYERS - 1)) == [4, 3, 2, 1, 0]


def test_random_orders_belong_to_their_seeds() -> None:
    orders = [tuple(order(rounds(RandomSettings(), LAYERS - 1, seed=seed))) for seed in range(8)]
    assert orders == [
        tuple(order(rounds(RandomSettings(), LAYERS - 1, seed=seed))) for seed in range(8)
    ]
    assert len(set(orders)) > 4
