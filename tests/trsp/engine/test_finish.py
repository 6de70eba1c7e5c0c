"""An engine gives the model back plain, with nothing of its own left on it."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.tiny import tiny_model, weights
from tests.trsp.engine.ways import BLOCKS, REFERENCE, WAYS, every_way, marks
from trsp.config import DriftSettings, GatesSettings
from trsp.distributed import device
from trsp.engine import engine
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


# --- what stays in memory ---------------------------------------------------


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Any]]]:
    """What DeepSpeed made, while Python looks for no garbage by itself."""
    made: list[weakref.ref[Any]] = []
    initialize = engine.initialize

    def noting(*args: Any) -> Any:
        trainer = initialize(*args)
        made.extend(map(weakref.ref, (trainer, trainer.optimizer, trainer.basic_optimizer)))
        made.extend(weakref.ref(each) for each in trainer.basic_optimizer.param_groups[0]["params"])
        return trainer

    monkeypatch.setattr(engine, "initialize", noting)
    monkeypatch.setattr(device, "LARGE_BYTES", 0)
    gc.disable()
    yield made
    gc.enable()


@pytest.mark.parametrize("way", ["zero 0", "zero 2", "zero 2, offloaded", "zero 3"])
def test_what_trained_is_gone(way: str, trainers: list[weakref.ref[Any]]) -> None:
    """Engine, optimizer, masters: whoever goes on with the model in this process has their room."""
    model = tiny_model("llama", 3, dtype=torch.bfloat16)
    transfer(model, [1], BLOCKS, DriftSettings(steps=2, learning_rate=1e-3), engine=WAYS[way])
    assert len(trainers) >= 3
    assert [each() for each in trainers if each() is not None] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("way", ["zero 0", "zero 2", "zero 3"])
def test_each_weight_has_memory_of_its_own(way: str, dtype: torch.dtype) -> None:
    """Otherwise deleting a layer would free nothing, and a measurement would count it."""
    model = tiny_model("llama", 3, dtype=dtype)
    transfer(model, [1], BLOCKS, DriftSettings(steps=1, learning_rate=1e-3), engine=WAYS[way])
    for parameter in model.parameters():
        assert parameter.untyped_storage().nbytes() == parameter.numel() * dtype.itemsize


@pytest.mark.parametrize("way", ["zero 0", "zero 3"])
def test_weights_that_do_not_train_stay_where_they_are(way: str) -> None:
    model = tiny_model("llama", 3)
    places = [each.untyped_storage().data_ptr() for each in model.parameters()]
    list(rank_layers(model, BLOCKS, GatesSettings(blocks_per_step=8), depth=1, engine=WAYS[way]))
    if way == "zero 0":
        assert [each.untyped_storage().data_ptr() for each in model.parameters()] == places
    assert all(each.untyped_storage().nbytes() == each.numel() * 4 for each in model.parameters())
