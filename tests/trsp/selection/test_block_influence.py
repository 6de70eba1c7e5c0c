"""Block influence against the hidden states that transformers itself returns."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.tiny import LAYERS, tiny_model
from tests.trsp.host_reads import host_reads
from tests.trsp.selection.rankings import BLOCKS, order, rounds
from trsp.config import BlockInfluenceSettings
from trsp.selection.block_influence import block_influence
from trsp.surgery import bypassed


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3_text"])
def test_block_influence_is_that_of_the_models_own_hidden_states(family: str) -> None:
    """Up to the last layer, whose output transformers shows only behind the final norm."""
    model = tiny_model(family)
    with torch.no_grad():
        states = model(BLOCKS, output_hidden_states=True, use_cache=False).hidden_states
    wanted = [
        1 - functional.cosine_similarity(x, y, dim=-1).mean().item()
        for x, y in itertools.pairwise(states[:-1])
    ]
    influence = block_influence(model, BLOCKS)
    assert len(influence) == LAYERS
    assert influence[:-1] == pytest.approx(wanted, abs=1e-5)


def test_the_last_layers_influence_is_measured_before_the_final_norm() -> None:
    model = tiny_model("llama")
    seen: dict[str, Tensor] = {}
    model.model.norm.register_forward_pre_hook(lambda _, args: seen.update(y=args[0]))
    with torch.no_grad():
        x = model(BLOCKS, output_hidden_states=True, use_cache=False).hidden_states[-2]
    wanted = 1 - functional.cosine_similarity(x, seen["y"], dim=-1).mean().item()
    assert block_influence(model, BLOCKS)[-1] == pytest.approx(wanted, abs=1e-5)


def test_block_influence_takes_the_lowest_first_all_from_one_pass() -> None:
    model = tiny_model("llama")
    influence = block_influence(model, BLOCKS)
    assert (
        order(rounds(BlockInfluenceSettings(), 4))
        == sorted(range(LAYERS), key=lambda layer: influence[layer])[:4]
    )
    with bypassed(model, [2]):
        assert block_influence(model, BLOCKS)[2] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gpt_neox"])
def test_no_logits_are_computed_for_block_influence(family: str) -> None:
    """The head is a fifth of a small model's work."""
    model = tiny_model(family)
    heads: list[object] = []
    model.get_output_embeddings().register_forward_hook(lambda *_: heads.append(1))
    block_influence(model, BLOCKS)
    assert heads == []


def test_block_influence_of_blocks_at_once_is_that_of_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama")
    at_once = block_influence(model, BLOCKS)
    passes: list[int] = []
    model.base_model.register_forward_pre_hook(
        lambda _, __, kwargs: passes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    monkeypatch.setattr("trsp.batch_sizes.CPU_PASS_TOKENS", 1)
    assert block_influence(model, BLOCKS) == pytest.approx(at_once, abs=1e-6)
    assert passes == [1] * len(BLOCKS)


def test_a_layers_influence_is_read_once_however_many_blocks_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trsp.batch_sizes.CPU_PASS_TOKENS", 1)
    with host_reads() as reads:
        block_influence(tiny_model("llama"), BLOCKS)
    assert reads == ["item"] * LAYERS
