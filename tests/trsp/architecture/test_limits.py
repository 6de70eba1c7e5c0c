"""What a model can read: blocks that are too long or hold ids of another tokenizer."""

import pytest
import torch

from tests.tiny import VOCABULARY, tiny_config, tiny_model
from trsp.architecture.families import FAMILIES
from trsp.architecture.limits import check_tokens, learned_positions, length_remark
from trsp.config import DriftSettings
from trsp.errors import InvalidInputError
from trsp.transfer import transfer


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


def test_an_id_below_0_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="a block holds the token id -100; ids count from"):
        check_tokens(tiny_config("llama").to_dict(), tokens(8, -100), "a block")


@pytest.mark.parametrize("shape", [(0, 8), (2, 0), (2, 1), (8,), (1, 2, 8)], ids=str)
def test_what_is_no_rows_of_tokens_is_refused(shape: tuple[int, ...]) -> None:
    ids = torch.zeros(*shape, dtype=torch.int64)
    with pytest.raises(InvalidInputError, match=r"of the shape .* came; \[N, T\] is needed"):
        check_tokens(tiny_config("llama").to_dict(), ids, "a block")


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32, torch.bool])
def test_ids_of_another_type_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(InvalidInputError, match=r"token ids of \w+ came; int64 is needed"):
        check_tokens(tiny_config("llama").to_dict(), tokens(8).to(dtype), "a block")


def test_blocks_that_the_model_cannot_read_are_refused_before_training() -> None:
    blocks = torch.full((2, 8), 5000)
    with pytest.raises(InvalidInputError, match="a calibration block holds the token id 5000"):
        transfer(tiny_model("llama"), (1,), blocks, DriftSettings())
