"""SLEB against brute force: real deletion and transformers' own loss."""

import pytest
import torch

from tests.tiny import LAYERS, tiny_model
from tests.trsp.selection.rankings import BLOCKS, rounds
from trsp.config import SlebSettings
from trsp.surgery import remove_layers


def nll_after_deletion(layers: tuple[int, ...]) -> float:
    """By real deletion and transformers' own loss."""
    model = tiny_model("llama")
    remove_layers(model, layers)
    with torch.no_grad():
        return float(model(BLOCKS, labels=BLOCKS).loss)


def test_sleb_removes_what_brute_force_finds_round_by_round() -> None:
    removed: tuple[int, ...] = ()
    for record in rounds(SlebSettings(), 3):
        wanted = {
            layer: nll_after_deletion((*removed, layer))
            for layer in range(1, LAYERS - 1)
            if layer not in removed
        }
        assert record.scores == pytest.approx(wanted, abs=1e-4)
        assert record.layer == min(wanted, key=lambda layer: wanted[layer])
        removed += (record.layer,)


def test_sleb_is_greedy_not_one_shot() -> None:
    """The second round scores on top of the first removal, else it would be one_shot_perplexity."""
    first, second = rounds(SlebSettings(), 2)
    assert all(
        second.scores[layer] != pytest.approx(first.scores[layer], abs=1e-3)
        for layer in second.scores
    )
