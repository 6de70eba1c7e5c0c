"""The loss without each layer in turn, against a whole pass with that layer bypassed."""

import pytest
import torch

from tests.tiny import FAMILY_SETTINGS, LAYERS, tiny_model
from tests.trsp.host_reads import host_reads
from tests.trsp.selection.rankings import BLOCKS
from trsp.architecture.decoders import decoder_layers
from trsp.losses import lm_loss
from trsp.selection.bypass_loss import bypass_losses
from trsp.surgery import bypassed

ALL = range(LAYERS)


@pytest.mark.parametrize("family", FAMILY_SETTINGS)
def test_it_is_that_of_a_whole_pass_to_the_last_digit(family: str) -> None:
    model = tiny_model(family)
    found = bypass_losses(model, BLOCKS, [0, 2, 3, LAYERS - 1], removed=[1, 4])
    for layer, loss in found.items():
        with torch.no_grad(), bypassed(model, [1, layer, 4]):
            of_all = len(BLOCKS) * lm_loss(model(input_ids=BLOCKS, use_cache=False).logits, BLOCKS)
        assert loss == of_all.item() / len(BLOCKS)


def test_layers_before_a_candidate_are_computed_once() -> None:
    model = tiny_model("llama")
    computed = dict.fromkeys(ALL, 0)
    for layer, module in enumerate(decoder_layers(model)):

        def counted(*_: object, layer: int = layer) -> None:
            computed[layer] += 1

        module.mlp.register_forward_hook(counted)
    bypass_losses(model, BLOCKS, ALL)
    assert computed == {layer: 1 + layer for layer in ALL}, "once, and without each one before it"


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model("llama")
    before = [dict(layer.__dict__) for layer in decoder_layers(model)]
    bypass_losses(model, BLOCKS, ALL, beat=lambda: None)
    assert [layer.__dict__.keys() for layer in decoder_layers(model)] == [
        each.keys() for each in before
    ]
    assert not any(layer._forward_pre_hooks for layer in decoder_layers(model))


def test_an_error_in_the_middle_leaves_it_as_it_was_too() -> None:
    model = tiny_model("llama")

    def leave() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bypass_losses(model, BLOCKS, ALL, beat=leave)
    assert not any(
        layer._forward_pre_hooks or "forward" in layer.__dict__ for layer in decoder_layers(model)
    )


def test_of_blocks_at_once_it_is_that_of_one_by_one_and_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama")
    at_once = bypass_losses(model, BLOCKS, [2, 3])
    monkeypatch.setattr("trsp.batch_sizes.CPU_PASS_TOKENS", 1)
    beats: list[None] = []
    with host_reads() as reads:
        one_by_one = bypass_losses(model, BLOCKS, [2, 3], beat=lambda: beats.append(None))
    assert one_by_one == pytest.approx(at_once, rel=1e-6)
    assert reads == ["item"] * 2, "once per layer"
    assert len(beats) == 2 * len(BLOCKS)
