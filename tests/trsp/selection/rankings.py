"""Rankings by every selector, of one tiny llama on the same blocks, for this folder's tests."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch

from tests.tiny import tiny_model
from trsp.config import (
    BlockInfluenceSettings,
    GatesSettings,
    RandomSettings,
    ReverseSettings,
    Selector,
    SlebSettings,
)
from trsp.records import RoundRecord
from trsp.selection import rank_layers

DEPTH = 4
BLOCKS = torch.randint(0, 256, (6, 24), generator=torch.Generator().manual_seed(0))
# Written out where defaults are a matter of study.
FAST = {
    "learning_rate": 0.05,
    "blocks_per_step": 2,
    "average_steps": False,
    "protect_first": 0,
    "protect_last": 0,
}
GATES = {
    "gates": GatesSettings.model_validate(FAST),
    "paper": GatesSettings.model_validate(FAST | {"preset": "paper"}),
    "train_weights": GatesSettings.model_validate(
        FAST | {"train_weights": True, "weights_learning_rate": 1e-3}
    ),
    "reset_each_round": GatesSettings.model_validate(FAST | {"reset_each_round": True}),
    "average_steps": GatesSettings.model_validate(FAST | {"average_steps": True}),
    "steps_per_round": GatesSettings.model_validate(FAST | {"steps_per_round": 2}),
}
SELECTORS: dict[str, Selector] = GATES | {
    "sleb": SlebSettings(),
    "block_influence": BlockInfluenceSettings(),
    "random": RandomSettings(),
    "reverse": ReverseSettings(),
}
every_selector = pytest.mark.parametrize("selector", SELECTORS.values(), ids=SELECTORS)
every_gates = pytest.mark.parametrize("selector", GATES.values(), ids=GATES)


def rounds(selector: Selector, depth: int, model: Any = None, **more: Any) -> list[RoundRecord]:
    """Return the rounds of ``model``, by default a fresh llama of 6 layers."""
    model = tiny_model("llama") if model is None else model
    return list(rank_layers(model, BLOCKS, selector, depth=depth, **more))


@cache
def ranking(selector: Selector) -> tuple[RoundRecord, ...]:
    """Return the selector's order of a fresh llama, DEPTH rounds: made once, for all tests."""
    return tuple(rounds(selector, DEPTH))


def untimed(records: Sequence[RoundRecord]) -> list[RoundRecord]:
    return [record.model_copy(update={"seconds": 0.0}) for record in records]


def order(records: Sequence[RoundRecord]) -> list[int]:
    return [record.layer for record in records]
