"""What holds for every selector: orders are prefixes of one another, and go on where they stop."""

import pytest
import torch

from tests.tiny import LAYERS, tiny_model
from tests.trsp.selection.rankings import (
    BLOCKS,
    DEPTH,
    every_selector,
    order,
    ranking,
    rounds,
    untimed,
)
from trsp.architecture.decoders import decoder_layers
from trsp.config import GatesSettings, Selector
from trsp.errors import InvalidInputError
from trsp.records import RoundRecord
from trsp.selection import rank_layers


@every_selector
def test_a_shallow_ranking_is_the_prefix_of_a_deep_one(selector: Selector) -> None:
    deep = ranking(selector)
    assert untimed(rounds(selector, 2)) == untimed(deep)[:2]
    assert len(set(order(deep))) == DEPTH
    assert [record.round for record in deep] == list(range(DEPTH))


@every_selector
@pytest.mark.parametrize("published", [1, 3])
def test_a_ranking_goes_on_where_it_stopped(selector: Selector, published: int) -> None:
    """Records as another process finds them: written as JSON and read again."""
    whole = ranking(selector)
    done = [
        RoundRecord.model_validate_json(record.model_dump_json()) for record in whole[:published]
    ]
    assert untimed(rounds(selector, DEPTH, done=done)) == untimed(whole)[published:]


@every_selector
def test_a_finished_ranking_has_nothing_to_add(selector: Selector) -> None:
    assert rounds(selector, DEPTH, done=ranking(selector)) == []


@every_selector
def test_every_round_removes_the_lowest_score_of_those_left(selector: Selector) -> None:
    removed: set[int] = set()
    for record in ranking(selector)[:3]:
        assert record.layer == min(record.scores, key=lambda layer: record.scores[layer])
        assert removed.isdisjoint(record.scores)
        assert record.margin is not None
        assert record.margin >= 0
        removed.add(record.layer)


@every_selector
def test_protected_layers_never_go(selector: Selector) -> None:
    guarded = selector.model_copy(update={"protect_first": 2, "protect_last": 1})
    records = rounds(guarded, LAYERS - 3)
    assert set(order(records)) == set(range(2, LAYERS - 1))
    assert all(set(record.scores) <= set(range(2, LAYERS - 1)) for record in records)


@every_selector
def test_a_depth_that_cannot_be_is_refused_before_anything_runs(selector: Selector) -> None:
    guarded = selector.model_copy(update={"protect_first": 2, "protect_last": 1})
    model = tiny_model("llama")
    for depth, refusal in (
        (0, "depth 0 of 6"),
        (4, "depth 4 of 6 layers, 3 of which may go; choose 1 to 3"),
    ):
        with pytest.raises(InvalidInputError, match=refusal):
            rank_layers(model, BLOCKS, guarded, depth=depth)
    open_to_all = selector.model_copy(update={"protect_first": 0, "protect_last": 0})
    with pytest.raises(InvalidInputError, match="choose 1 to 5"):
        rank_layers(model, BLOCKS, open_to_all, depth=LAYERS)


@every_selector
def test_text_is_asked_for_by_those_who_read_it(selector: Selector) -> None:
    if selector.uses_text:
        with pytest.raises(InvalidInputError, match=f"selector '{selector.name}' reads text"):
            rank_layers(tiny_model("llama"), None, selector, depth=1)
    else:
        assert len(list(rank_layers(tiny_model("llama"), None, selector, depth=1))) == 1


@every_selector
def test_ranking_leaves_the_model_as_it_was(selector: Selector) -> None:
    model = tiny_model("llama")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = [len(module._forward_hooks) for module in model.modules()]
    rounds(selector, 2, model)
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert all("forward" not in vars(layer) for layer in decoder_layers(model))
    assert all(parameter.requires_grad for parameter in model.parameters())
    trained = isinstance(selector, GatesSettings) and selector.train_weights
    after = model.state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items()) != trained


@every_selector
def test_blocks_that_the_model_cannot_read_are_refused_by_those_who_read_them(
    selector: Selector,
) -> None:
    model, blocks = tiny_model("gpt2", layers=4), torch.zeros(2, 300, dtype=torch.int64)
    if selector.uses_text:
        with pytest.raises(InvalidInputError, match="of 300 tokens is longer than the 256 pos"):
            rank_layers(model, blocks, selector, depth=1)
    else:
        assert len(list(rank_layers(model, blocks, selector, depth=1))) == 1
