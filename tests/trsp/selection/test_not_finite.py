"""A model whose weights hold a NaN has no order of layers: every selector that reads it says so."""

from typing import Any

import pytest
import torch

from tests.tiny import tiny_model
from tests.trsp.selection.rankings import GATES, rounds
from trsp.architecture.decoders import decoder_layers
from trsp.config import BlockInfluenceSettings, Selector, SlebSettings
from trsp.errors import InvalidInputError, TrainingDivergedError
from trsp.selection.order import one_shot, require_finite

SCORING: list[Selector] = [BlockInfluenceSettings(), SlebSettings()]


@pytest.fixture
def ruined() -> Any:
    model = tiny_model("llama")
    with torch.no_grad():
        decoder_layers(model)[1].mlp.down_proj.weight.fill_(float("nan"))
    return model


@pytest.mark.parametrize("selector", SCORING, ids=lambda selector: selector.name)
def test_one_matrix_of_nan_ends_a_ranking_before_its_first_round(
    selector: Selector, ruined: Any
) -> None:
    with pytest.raises(TrainingDivergedError):
        rounds(selector, 1, ruined)


def test_no_learning_rate_helps_gates_of_a_model_with_one_matrix_of_nan(ruined: Any) -> None:
    """So it is not tried again at half of it."""
    with pytest.raises(
        InvalidInputError,
        match=r"parameters hold NaN.*such a model is not trained",
    ):
        rounds(GATES["gates"], 1, ruined)


def test_scores_that_are_not_finite_name_a_layer_and_its_score() -> None:
    with pytest.raises(TrainingDivergedError, match=r"2 of 3 layers.*that of layer 1 is nan"):
        require_finite({0: 0.5, 1: float("nan"), 2: float("inf")})


def test_an_infinite_score_is_no_order() -> None:
    with pytest.raises(TrainingDivergedError, match="layer 4 is inf"):
        one_shot({3: 0.1, 4: float("inf")}, depth=1)
