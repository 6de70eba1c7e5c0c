"""What a model can read: blocks that are too long or hold ids of another tokenizer."""

import pytest
import torch

from tests.tiny import VOCABULARY, tiny_config, tiny_model
from trsp.architecture.families import FAMILIES
from trsp.architecture.limits import check_tokens, learned_positions, length_remark
from trsp.errors import InvalidInputError


def tokens(length: int, largest: int = 3) -> torch.Tensor:
    return torch.full((2, length), largest)


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_as_many_tokens_as_positions_and_no_more(family: str) -> None:
    """What is refused is what the model cannot compute, and nothing else."""
    model = tiny_model(family, layers=2)
    config = model.config.to_dict()
    check_tokens(config, tokens(256), "a block")
    model(input_ids=tokens(256))
    with pytest.raises(IndexError):
        model(input_ids=tokens(257))
    with pytest.raises(InvalidInputError, match="a block of 257 tokens is longer than the 256 pos"):
        check_tokens(config, tokens(257), "a block")


def test_positions_that_are_computed_have_no_end() -> None:
    config = tiny_config("llama").to_dict()
    check_tokens(config, tokens(1000), "a block")
    assert "longer than the 256 that this model was made for" in length_remark(config, 257, "a")
    assert length_remark(config, 256, "a") == ""


def test_families_with_learned_positions() -> None:
    learned = {name for name in FAMILIES if learned_positions(tiny_config(name).to_dict())}
    assert learned == {"gpt2", "opt"}


def test_ids_beyond_the_embedding() -> None:
    config = tiny_config("llama").to_dict()
    check_tokens(config, tokens(8, VOCABULARY - 1), "a block")
    with pytest.raises(InvalidInputError, match=r"a block holds the token id 264, .* 264 rows"):
        check_tokens(config, tokens(8, VOCABULARY), "a block")


def test_no_blocks_hold_no_ids() -> None:
    check_tokens(tiny_config("llama").to_dict(), torch.zeros(0, 8, dtype=torch.int64), "a block")
