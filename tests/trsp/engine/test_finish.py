"""An engine gives the model back plain, with nothing of its own left on it."""

import pytest
import torch

from tests.tiny import tiny_model, weights
from tests.trsp.engine.ways import BLOCKS, REFERENCE, WAYS, every_way, marks
from trsp.config import DriftSettings, GatesSettings
from trsp.selection import rank_layers
from trsp.transfer import transfer


@every_way
@pytest.mark.parametrize("train_weights", [False, True])
def test_a_model_comes_back_plain(way: str, train_weights: bool) -> None:
    model = tiny_model("llama")
    before, marked = weights(model), marks(model)
    with torch.no_grad():
        logits = model(BLOCKS[:1], use_cache=False).logits
    selector = GatesSettings(blocks_per_step=4, train_weights=train_weights)
    list(rank_layers(model, BLOCKS, selector, depth=2, engine=WAYS[way]))
    assert marks(model) == marked
    after = weights(model)
    assert all(torch.equal(after[name], before[name]) for name in before) != train_weights
    with torch.no_grad():
        assert torch.equal(model(BLOCKS[:1], use_cache=False).logits, logits) != train_weights


@pytest.mark.parametrize("way", ["zero 2", "zero 3"])
def test_a_ranking_left_in_the_middle_leaves_the_model_plain(way: str) -> None:
    model = tiny_model("llama")
    marked = marks(model)
    rounds = iter(
        rank_layers(model, BLOCKS, GatesSettings(blocks_per_step=8), depth=3, engine=WAYS[way])
    )
    next(rounds)
    assert marks(model) != marked
    del rounds  # a generator that nobody holds is closed
    assert marks(model) == marked


def test_a_hook_that_was_there_before_stays_and_can_still_be_removed() -> None:
    model, calls = tiny_model("llama"), []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    list(rank_layers(model, BLOCKS, GatesSettings(blocks_per_step=8), depth=1))
    calls.clear()
    model(BLOCKS[:1])
    handle.remove()
    model(BLOCKS[:1])
    assert calls == [1]


def test_one_model_goes_through_many_engines() -> None:
    """The library does so: rank, transfer, rank again, in one process and under any ZeRO stage."""
    model, fresh = tiny_model("llama"), tiny_model("llama")
    for way in ("zero 3", "zero 2", "zero 3"):
        transfer(model, [2], BLOCKS, DriftSettings(steps=2, learning_rate=1e-3), engine=WAYS[way])
        transfer(fresh, [2], BLOCKS, DriftSettings(steps=2, learning_rate=1e-3), engine=REFERENCE)
    for name, tensor in weights(fresh).items():
        torch.testing.assert_close(weights(model)[name], tensor, rtol=0, atol=3e-5)
