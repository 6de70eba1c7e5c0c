"""Healing trains what stays, as if all were trained, and keeps nothing of what goes."""

from typing import Any

import pytest
import torch

from tests.tiny import LAYERS, tiny_model, weights
from tests.trsp.test_transfer import BLOCKS, BUDGET, LAYERS_OUT, PLAIN, same_weights
from trsp.architecture.decoders import decoder_layers
from trsp.config import DriftSettings, EngineSettings, HealSettings
from trsp.engine.engine import Engine, StepLosses
from trsp.surgery import remove_layers
from trsp.transfer import transfer

WAYS = {
    "zero 0": PLAIN,
    "zero 1": EngineSettings(zero_stage=1),
    "zero 2, offloaded": EngineSettings(zero_stage=2, offload_optimizer="cpu"),
    "zero 3": EngineSettings(zero_stage=3),
}


@pytest.mark.parametrize("way", WAYS)
def test_healing_trains_what_stays_as_if_all_were_trained(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, losses and the clipped gradient's norm; the layers that go keep no masters."""
    settings = HealSettings.model_validate(BUDGET)
    found, wanted = tiny_model("llama"), tiny_model("llama")
    record = transfer(found, LAYERS_OUT, BLOCKS, settings, engine=WAYS[way])
    monkeypatch.setattr("trsp.transfer._learning", lambda model, *_: list(model.parameters()))
    of_all = transfer(wanted, LAYERS_OUT, BLOCKS, settings, engine=WAYS[way])
    assert record.lm_loss == pytest.approx(of_all.lm_loss, abs=1e-6)
    remove_layers(found, LAYERS_OUT)
    remove_layers(wanted, LAYERS_OUT)
    same_weights(found, wanted, tolerance=0.0 if way == "zero 0" else 1e-7)


@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["all weights", "lora"])
def test_healing_keeps_nothing_of_layers_that_are_gone(
    lora: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning: list[str] = []
    step = Engine.step

    def watched(engine: Engine, *arguments: Any) -> StepLosses:
        named = engine.model.named_parameters()
        learning.extend(name for name, each in named if each.requires_grad)
        return step(engine, *arguments)

    monkeypatch.setattr(Engine, "step", watched)
    settings = HealSettings.model_validate(BUDGET | {"lora": lora, "steps": 1})
    transfer(tiny_model("llama"), LAYERS_OUT, BLOCKS, settings, engine=PLAIN)
    layers = {int(name.split(".")[2]) for name in learning if ".layers." in name}
    assert layers == set(range(LAYERS)) - set(LAYERS_OUT)


def test_annealing_trains_the_layers_until_they_are_gone() -> None:
    settings = DriftSettings.model_validate(BUDGET | {"weight_decay": 0.0})
    model, before = tiny_model("llama"), tiny_model("llama")
    transfer(model, LAYERS_OUT, BLOCKS, settings, 0.1, PLAIN)
    ours, theirs = (weights(decoder_layers(each)[LAYERS_OUT[0]]) for each in (model, before))
    assert not any(torch.equal(ours[name], theirs[name]) for name in ours)


def test_chosen_layers_of_a_healed_model_stay_as_they_were() -> None:
    """They are gone in all but name: neither gradient nor weight decay reaches them."""
    model, before = tiny_model("llama"), tiny_model("llama")
    transfer(model, LAYERS_OUT, BLOCKS, HealSettings.model_validate(BUDGET))
    for layer in range(LAYERS):
        ours, theirs = (weights(decoder_layers(each)[layer]) for each in (model, before))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours) == (layer in LAYERS_OUT)
