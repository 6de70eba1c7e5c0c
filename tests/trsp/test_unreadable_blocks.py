"""Blocks that a model cannot read are refused before stage two trains on them."""

import pytest
import torch

from tests.tiny import tiny_model
from trsp.config import DriftSettings
from trsp.errors import InvalidInputError
from trsp.transfer import transfer


def test_blocks_that_the_model_cannot_read_are_refused_before_training() -> None:
    blocks = torch.full((2, 8), 5000)
    with pytest.raises(InvalidInputError, match="a calibration block holds the token id 5000"):
        transfer(tiny_model("llama"), (1,), blocks, DriftSettings())
