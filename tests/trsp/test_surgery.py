"""How the bypass behaves towards the rest of a program, and what deletion refuses."""

import pytest
import torch
from torch import Tensor

from tests.tiny import LAYERS, tiny_model
from trsp import surgery
from trsp.architecture.decoders import decoder_layers
from trsp.errors import InvalidInputError
from trsp.surgery import bypassed, remove_layers, remove_layers_verified

IDS = torch.arange(16)[None]


@torch.no_grad()
def logits(model: torch.nn.Module) -> Tensor:
    return model(IDS, use_cache=False).logits


def test_nested_bypasses_with_overlap_restore_each_other() -> None:
    model = tiny_model("llama")
    dense = logits(model)
    with bypassed(model, (1, 2)):
        outer = logits(model)
        with bypassed(model, (2, 3)):
            assert not torch.equal(logits(model), outer)
        assert torch.equal(logits(model), outer)
    assert torch.equal(logits(model), dense)


def test_a_forward_that_was_there_before_comes_back() -> None:
    model = tiny_model("llama")
    layer = decoder_layers(model)[1]
    original = layer.forward
    layer.forward = lambda hidden, **kwargs: original(2 * hidden, **kwargs)
    changed = logits(model)
    with bypassed(model, (1,)):
        assert not torch.equal(logits(model), changed)
    assert torch.equal(logits(model), changed)


def test_an_exception_inside_restores_the_model() -> None:
    model = tiny_model("llama")
    dense = logits(model)
    with pytest.raises(KeyError), bypassed(model, (0, 5)):
        raise KeyError
    assert torch.equal(logits(model), dense)


def test_names_stay_hooks_fire_and_nothing_inside_is_computed() -> None:
    model = tiny_model("llama")
    names = list(model.state_dict())
    called: list[str] = []
    layer = decoder_layers(model)[2]
    layer.register_forward_hook(lambda *_: called.append("layer"))
    layer.self_attn.register_forward_hook(lambda *_: called.append("attention"))
    with bypassed(model, (2,)):
        logits(model)
        assert list(model.state_dict()) == names
    assert called == ["layer"]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_gradients_with_activation_checkpointing_are_those_without(family: str) -> None:
    """The other layers are recomputed in the backward pass; the bypassed one gets no gradient."""
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model(family)
        if checkpointing:
            model.activation_checkpointing_enable()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.train()
        with bypassed(model, (1,)):
            model(IDS, labels=IDS, use_cache=False).loss.backward()
        assert all(p.grad is None for p in decoder_layers(model)[1].parameters())
        gradients.append([p.grad for p in decoder_layers(model)[0].parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((6,), r"layers \[6\] do not exist.*0 to 5"),
        ((-1,), "do not exist"),
        (range(6), "at least one must stay"),
        ((1, 1), "twice"),
    ],
)
def test_layers_that_cannot_be_removed(layers: tuple[int, ...], message: str) -> None:
    model = tiny_model("llama")
    with pytest.raises(InvalidInputError, match=message):
        remove_layers(model, layers)
    with pytest.raises(InvalidInputError, match=message), bypassed(model, layers):
        pass
    assert len(decoder_layers(model)) == LAYERS


def test_removal_twice_counts_positions_of_the_model_as_it_is() -> None:
    once, twice = tiny_model("gemma3_text"), tiny_model("gemma3_text")
    remove_layers(once, (1, 4))
    remove_layers(twice, (1,))
    remove_layers(twice, (3,))
    assert torch.equal(logits(once), logits(twice))
    assert once.config.layer_types == twice.config.layer_types
    assert [layer.self_attn.layer_idx for layer in decoder_layers(twice)] == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_verified_removal_passes_when_deletion_equals_bypass(dtype: torch.dtype) -> None:
    model = tiny_model("gemma3_text", dtype=dtype)
    remove_layers_verified(model, (0, 3))
    assert len(decoder_layers(model)) == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_verified_removal_notices_another_layer_gone(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an entry of the table with a wrong path or list would do."""
    monkeypatch.setattr(
        surgery,
        "remove_layers",
        lambda model, layers: remove_layers(model, [i + 1 for i in layers]),
    )
    with pytest.raises(AssertionError, match=r"deletion differs from bypassing \[0, 3\]"):
        remove_layers_verified(tiny_model("gemma3_text", dtype=dtype), (0, 3))
