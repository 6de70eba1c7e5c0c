"""What ``LanguageModel`` is given: layers by the original's indices, and numbers of their kind."""

from pathlib import Path

import pytest
import torch

from tests.tiny import LAYERS, VOCABULARY, tiny_model, tiny_tokenizer, weights
from trsp import (
    BlockInfluenceSettings,
    GatesSettings,
    HealSettings,
    LanguageModel,
    ReverseSettings,
    SlebSettings,
)
from trsp.errors import InvalidInputError
from trsp.surgery import remove_layers
from trsp.transfer import transfer

BLOCKS = torch.randint(0, 256, (4, 16), generator=torch.Generator().manual_seed(0))
QUICK = HealSettings(steps=2, blocks_per_step=2, learning_rate=1e-3)


@pytest.fixture
def lm() -> LanguageModel:
    return LanguageModel(tiny_model("llama"), tiny_tokenizer(), "tiny")


@pytest.fixture
def cut(lm: LanguageModel) -> LanguageModel:
    """A model without layers 1 and 4; 0, 2, 3 and 5 are left."""
    lm.remove([4, 1])
    return lm


def test_a_model_in_training_mode_is_scored_without_dropout(text_file: Path) -> None:
    asked = {"text": text_file, "window_tokens": 32, "max_windows": 4}
    training, scoring = (
        LanguageModel(tiny_model("gpt2").train(mode), tiny_tokenizer(), "tiny").perplexity(**asked)
        for mode in (True, False)
    )
    assert training == scoring


# --- layers, once some are removed -----------------------------------------------------


def test_the_layers_that_are_left_keep_their_names(cut: LanguageModel) -> None:
    assert (cut.removed, cut.layers) == ((1, 4), (0, 2, 3, 5))


def test_a_ranking_names_layers_of_the_original(cut: LanguageModel) -> None:
    assert cut.rank(None, 3, ReverseSettings(protect_last=0)) == [5, 3, 2]


@pytest.mark.parametrize("selector", [BlockInfluenceSettings(), SlebSettings(protect_last=0)])
def test_a_ranking_by_text_names_layers_of_the_original(
    cut: LanguageModel, selector: BlockInfluenceSettings | SlebSettings
) -> None:
    assert set(cut.rank(BLOCKS, 2, selector)) < {0, 2, 3, 5}


def test_stage_two_trains_without_the_layers_that_it_is_given(cut: LanguageModel) -> None:
    """Layer 5 of the original is layer 3 of what is left."""
    wanted = tiny_model("llama")
    remove_layers(wanted, (1, 4))
    transfer(wanted, [3], BLOCKS, QUICK)
    assert cut.transfer([5], BLOCKS, QUICK).layers == (5,)
    found, expected = weights(cut.model), weights(wanted)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_layers_removed_in_two_calls_are_those_removed_in_one(cut: LanguageModel) -> None:
    cut.remove([5])
    assert (cut.removed, cut.layers) == ((1, 4, 5), (0, 2, 3))
    wanted = tiny_model("llama")
    remove_layers(wanted, (1, 4, 5))
    with torch.no_grad():
        assert torch.equal(cut.model(BLOCKS).logits, wanted(BLOCKS).logits)


def test_the_card_of_a_model_cut_twice_names_all_layers(cut: LanguageModel, tmp_path: Path) -> None:
    cut.remove([5])
    assert cut.save(tmp_path).removed_layers == (1, 4, 5)
    assert f"with 3 of its {LAYERS} transformer layers" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([1], r"layers \[1\] are gone already; left are \[0, 2, 3, 5\]"),
        ([6], r"layers \[6\] do not exist"),
        ([5, 5], "name one twice"),
        ([0, 2, 3, 5], "at least one must stay"),
    ],
)
def test_layers_that_cannot_go_leave_the_model_as_it_is(
    cut: LanguageModel, layers: list[int], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        cut.remove(layers)
    with pytest.raises(InvalidInputError, match=message):
        cut.transfer(layers, BLOCKS, QUICK)
    assert cut.layers == (0, 2, 3, 5)


# --- numbers and texts -----------------------------------------------------------------


@pytest.mark.parametrize("strength", [-1e-3, float("nan"), float("inf")])
def test_a_strength_that_is_none_is_refused(lm: LanguageModel, strength: float) -> None:
    with pytest.raises(InvalidInputError, match=f"gate_l1 is {strength}; a strength is a finite"):
        lm.rank(BLOCKS, 1, gate_l1=strength)
    with pytest.raises(InvalidInputError, match=f"drift is {strength}; a strength is a finite"):
        lm.transfer([1], BLOCKS, drift=strength)


def test_a_strength_of_nothing_is_one(lm: LanguageModel) -> None:
    settings = GatesSettings(steps_per_round=1)
    assert len(lm.rank(BLOCKS, 1, settings, gate_l1=0.0)) == 1


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_factor_on_rates_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(InvalidInputError, match=f"lr_scale is {scale}"):
        transfer(tiny_model("llama"), [1], BLOCKS, QUICK, lr_scale=scale)


@pytest.mark.parametrize(
    ("argument", "value"), [("count", 0), ("count", -1), ("tokens", 0), ("tokens", -8)]
)
def test_blocks_of_no_size_are_refused_by_the_callers_name(
    lm: LanguageModel, text_file: Path, argument: str, value: int
) -> None:
    with pytest.raises(InvalidInputError, match=rf"^{argument}: .*; {value} came"):
        lm.blocks(text_file, **{argument: value})


@pytest.mark.parametrize(
    ("argument", "value"), [("window_tokens", 0), ("window_tokens", -1), ("max_windows", 0)]
)
def test_windows_of_no_size_are_refused(
    lm: LanguageModel, text_file: Path, argument: str, value: int
) -> None:
    with pytest.raises(InvalidInputError, match=rf"^{argument}: .*; {value} came"):
        lm.perplexity(text_file, **{argument: value})


@pytest.mark.parametrize("count", [0, -1, LAYERS])
def test_a_number_of_layers_that_cannot_go_is_refused(lm: LanguageModel, count: int) -> None:
    with pytest.raises(InvalidInputError, match=f"depth {count} of {LAYERS} layers"):
        lm.rank(BLOCKS, count, BlockInfluenceSettings())


@pytest.mark.parametrize(
    "blocks", [BLOCKS.float(), BLOCKS[0], BLOCKS[:0], BLOCKS - 300, BLOCKS + VOCABULARY]
)
def test_blocks_that_no_model_can_read_are_refused_by_both_stages(
    lm: LanguageModel, blocks: torch.Tensor
) -> None:
    for selector in (None, SlebSettings(), BlockInfluenceSettings()):
        with pytest.raises(InvalidInputError, match="a calibration block"):
            lm.rank(blocks, 1, selector)
    with pytest.raises(InvalidInputError, match="a calibration block"):
        lm.transfer([1], blocks)


def test_an_unknown_precision_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(InvalidInputError, match="unknown precision 'fp16'"):
        LanguageModel.load(str(tiny_llama), precision="fp16")  # type: ignore[arg-type]


def test_a_tokenizer_larger_than_the_model_is_refused(text_file: Path) -> None:
    model = tiny_model("llama")
    model.resize_token_embeddings(64)
    with pytest.raises(InvalidInputError, match="an evaluation window holds the token id"):
        LanguageModel(model, tiny_tokenizer(), "tiny").perplexity(text_file, window_tokens=32)
