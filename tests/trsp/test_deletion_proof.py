"""The proof of deletion finds what a wrong entry of the table of families would do.

Windows are those of real models here, many times as long as the proof's text.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests.tiny import tiny_config, tiny_model
from trsp import surgery
from trsp.architecture.decoders import decoder_layers
from trsp.architecture.families import FAMILIES, Family, pruned_config
from trsp.errors import TrainingDivergedError
from trsp.surgery import remove_layers_verified

WINDOW = 512
REMOVED = (0, 2)  # of gemma3's layers 1, 3 and 5 are full
Cut = Callable[[dict[str, Any]], Mapping[str, Any]]


def long_windowed(family: str) -> PreTrainedModel:
    config = tiny_config(family)
    if getattr(config, "sliding_window", None):
        config.sliding_window = WINDOW
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for mine, theirs in zip(model.parameters(), tiny_model(family).parameters(), strict=True):
            mine.copy_(theirs)
    return model.eval()


def cut_wrongly(monkeypatch: pytest.MonkeyPatch, wrong: Cut) -> None:
    """Let the config be cut, and then changed: ``wrong`` returns the keys that it gets wrong."""

    def cut(config: Mapping[str, Any], removed: Any) -> dict[str, Any]:
        right = pruned_config(config, removed)
        return {**right, **wrong(right)}

    monkeypatch.setattr(surgery, "pruned_config", cut)


def reversed_types(right: dict[str, Any]) -> Mapping[str, Any]:
    return {"layer_types": right["layer_types"][::-1]}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_right_entry_passes(family: str) -> None:
    model = long_windowed(family)
    remove_layers_verified(model, REMOVED)
    assert len(decoder_layers(model)) == 4


@pytest.mark.parametrize("family", ["gemma3_text", "gemma2", "qwen2", "mistral"])
def test_windows_are_afterwards_what_they_were(family: str) -> None:
    model = long_windowed(family)
    windows = [getattr(layer.self_attn, "sliding_window", None) for layer in decoder_layers(model)]
    remove_layers_verified(model, REMOVED)
    kept = [windows[index] for index in (1, 3, 4, 5)]
    assert [
        getattr(layer.self_attn, "sliding_window", None) for layer in decoder_layers(model)
    ] == kept
    assert model.config.sliding_window == WINDOW


def test_layer_types_that_were_cut_wrongly_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_wrongly(monkeypatch, reversed_types)
    monkeypatch.setattr(surgery, "_both_ways", removed_only)
    with pytest.raises(AssertionError, match="layer_types of the pruned config is"):
        remove_layers_verified(long_windowed("gemma3_text"), REMOVED)


def removed_only(model: PreTrainedModel, layers: Any, tokens: int) -> tuple[Any, Any]:
    """Delete without comparing."""
    surgery.remove_layers(model, layers)
    return torch.zeros(1), torch.zeros(1)


def test_the_forward_passes_notice_wrong_types_past_a_long_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut_wrongly(monkeypatch, reversed_types)
    monkeypatch.setattr(surgery, "check_kept", lambda *_: None)
    model = long_windowed("gemma3_text")
    with pytest.raises(AssertionError, match="deletion differs from bypassing"):
        remove_layers_verified(model, REMOVED)
    assert model.config.sliding_window == WINDOW, "after an error, too"


@pytest.mark.parametrize("family", ["gemma3_text", "gemma2", "qwen2", "qwen3"])
def test_a_family_whose_entry_names_no_list_is_noticed(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, family, Family())  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        remove_layers_verified(long_windowed(family), REMOVED)


@pytest.mark.parametrize(
    ("family", "wrong", "named"),
    [
        ("gemma3_text", {"query_pre_attn_scalar": 64}, r"self_attn\.scaling was 0.25 and is 0.125"),
        ("llama", {"attention_bias": True}, r"k_proj\.bias was 'not there' and is \(16,\)"),
        ("qwen3", {"head_dim": 32}, r"head_dim was 16 and is 32"),
    ],
)
def test_a_layer_that_would_be_read_back_as_another_is_noticed(
    family: str, wrong: Mapping[str, Any], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_wrongly(monkeypatch, lambda _: wrong)
    monkeypatch.setattr(surgery, "_both_ways", removed_only)
    with pytest.raises(AssertionError, match=named):
        remove_layers_verified(long_windowed(family), REMOVED)


def test_a_model_with_fewer_positions_than_the_proof_has_tokens_passes() -> None:
    config = tiny_config("gpt2")
    config.n_positions = 8
    model = AutoModelForCausalLM.from_config(config).eval()
    remove_layers_verified(model, REMOVED)
    assert len(decoder_layers(model)) == 4


def test_of_logits_that_are_nan_nothing_is_proven() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        next(decoder_layers(model)[1].parameters()).fill_(float("nan"))
    with pytest.raises(TrainingDivergedError, match=r"without layers \[0\] are NaN; look for"):
        remove_layers_verified(model, [0])


def test_logits_that_are_infinite_both_ways_prove_no_less_of_the_others() -> None:
    """A tolerance by the largest logit would be infinite, too."""
    bypassed_BTV, removed_BTV = torch.tensor([[[float("-inf"), 1.0], [float("-inf"), 2.0]]] * 2)
    surgery._check_equal(removed_BTV, bypassed_BTV, [0])
    with pytest.raises(AssertionError, match=r"deletion differs from bypassing \[0\]"):
        surgery._check_equal(removed_BTV, bypassed_BTV * 2, [0])
