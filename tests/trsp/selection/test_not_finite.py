"""A model whose weights hold a NaN has no order of layers: every selector that reads it says so."""

import pytest
import torch

from tests.tiny import tiny_model
from tests.trsp.selection.rankings import GATES, rounds
from trsp.architecture.decoders import decoder_layers
from trsp.config import BlockInfluenceSettings, Selector, SlebSettings
from trsp.errors import TrainingDivergedError
from trsp.selection.order import one_shot, require_finite

READERS: list[Selector] = [BlockInfluenceSettings(), SlebSettings(), GATES["gates"]]


@pytest.mark.parametrize("selector", READERS, ids=lambda selector: selector.name)
def test_one_matrix_of_nan_ends_a_ranking_before_its_first_round(selector: Selector) -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        decoder_layers(model)[1].mlp.down_proj.weight.fill_(float("nan"))
    with pytest.raises(TrainingDivergedError):
        rounds(selector, 1, model)


def test_scores_that_are_not_finite_name_a_layer_and_its_score() -> None:
    with pytest.raises(TrainingDivergedError, match=r"2 of 3 layers.*that of layer 1 is nan"):
        require_finite({0: 0.5, 1: float("nan"), 2: float("inf")})


def test_an_infinite_score_is_no_order() -> None:
    with pytest.raises(TrainingDivergedError, match="layer 4 is inf"):
        one_shot({3: 0.1, 4: float("inf")}, depth=1)
