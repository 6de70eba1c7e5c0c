"""Selectors: orders that are prefixes of one another, that go on where they stopped, and that are what they claim to be."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.tiny import LAYERS, tiny_model
from trsp.architecture.decoders import decoder_layers
from trsp.config import (
    BlockInfluenceSettings,
    GatesSettings,
    RandomSettings,
    ReverseSettings,
    Selector,
    SlebSettings,
)
from trsp.errors import InvalidInputError
from trsp.records import RoundRecord
from trsp.selection import rank_layers
from trsp.selection.block_influence import block_influence
from trsp.surgery import bypassed, remove_layers

BLOCKS = torch.randint(0, 256, (6, 24), generator=torch.Generator().manual_seed(0))
# Written out where defaults are a matter of study.
FAST = {
    "learning_rate": 0.05,
    "blocks_per_step": 2,
    "average_steps": False,
    "protect_first": 0,
    "protect_last": 0,
}
GATES = {
    "gates": GatesSettings.model_validate(FAST),
    "paper": GatesSettings.model_validate(FAST | {"preset": "paper"}),
    "train_weights": GatesSettings.model_validate(
        FAST | {"train_weights": True, "weights_learning_rate": 1e-3}
    ),
    "reset_each_round": GatesSettings.model_validate(FAST | {"reset_each_round": True}),
    "average_steps": GatesSettings.model_validate(FAST | {"average_steps": True}),
    "steps_per_round": GatesSettings.model_validate(FAST | {"steps_per_round": 2}),
}
SELECTORS: dict[str, Selector] = GATES | {
    "sleb": SlebSettings(),
    "block_influence": BlockInfluenceSettings(),
    "random": RandomSettings(),
    "reverse": ReverseSettings(),
}
every_selector = pytest.mark.parametrize("selector", SELECTORS.values(), ids=SELECTORS)
every_gates = pytest.mark.parametrize("selector", GATES.values(), ids=GATES)


def rounds(selector: Selector, depth: int, model: Any = None, **more: Any) -> list[RoundRecord]:
    return list(
        rank_layers(
            tiny_model("llama") if model is None else model, BLOCKS, selector, depth=depth, **more
        )
    )


def untimed(records: list[RoundRecord]) -> list[RoundRecord]:
    return [record.model_copy(update={"seconds": 0.0}) for record in records]


def order(records: list[RoundRecord]) -> list[int]:
    return [record.layer for record in records]


# --- what holds for every selector ------------------------------------------------------------------------------------


@every_selector
def test_a_shallow_ranking_is_the_prefix_of_a_deep_one(selector: Selector) -> None:
    deep = rounds(selector, 4)
    assert untimed(rounds(selector, 2)) == untimed(deep)[:2]
    assert len(set(order(deep))) == 4
    assert [record.round for record in deep] == [0, 1, 2, 3]


@every_selector
@pytest.mark.parametrize("published", [1, 3])
def test_a_ranking_goes_on_where_it_stopped(selector: Selector, published: int) -> None:
    """Records as another process finds them: written as JSON and read again."""
    whole = rounds(selector, 4)
    done = [
        RoundRecord.model_validate_json(record.model_dump_json()) for record in whole[:published]
    ]
    assert untimed(rounds(selector, 4, done=done)) == untimed(whole)[published:]


@every_selector
def test_a_finished_ranking_has_nothing_to_add(selector: Selector) -> None:
    assert rounds(selector, 2, done=rounds(selector, 2)) == []


@every_selector
def test_every_round_removes_the_lowest_score_of_those_left(selector: Selector) -> None:
    removed: set[int] = set()
    for record in rounds(selector, 3):
        assert record.layer == min(record.scores, key=lambda layer: record.scores[layer])
        assert removed.isdisjoint(record.scores)
        assert record.margin is not None
        assert record.margin >= 0
        removed.add(record.layer)


@every_selector
def test_protected_layers_never_go(selector: Selector) -> None:
    guarded = selector.model_copy(update={"protect_first": 2, "protect_last": 1})
    assert set(order(rounds(guarded, LAYERS - 3))) == set(range(2, LAYERS - 1))
    assert all(set(record.scores) <= set(range(2, LAYERS - 1)) for record in rounds(guarded, 1))


@every_selector
def test_a_depth_that_cannot_be_is_refused_before_anything_runs(selector: Selector) -> None:
    guarded = selector.model_copy(update={"protect_first": 2, "protect_last": 1})
    model = tiny_model("llama")
    for depth, wanted in (
        (0, "depth 0 of 6"),
        (4, "depth 4 of 6 layers, 3 of which may go; choose 1 to 3"),
    ):
        with pytest.raises(InvalidInputError, match=wanted):
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
    assert (
        all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        != trained
    )


# --- learned gates ----------------------------------------------------------------------------------------------------


def naive_round(
    model: Any,
    removed: list[int],
    start: list[float],
    settings: GatesSettings,
    strength: float,
    first: int,
) -> Any:
    """One round of METHOD section 1 in plain torch: the gate as its formula, the optimizer torch's own."""
    left = [layer for layer in range(LAYERS) if layer not in removed]
    gates = torch.tensor([start[layer] for layer in left], requires_grad=True)
    adam = torch.optim.AdamW([gates], lr=settings.learning_rate, weight_decay=0.0)

    def gate(layer: int) -> Any:
        def hook(_: Any, args: Any, output: Tensor) -> Tensor:
            if layer in removed:
                return args[0]
            s = gates[left.index(layer)]
            return (
                s * output if settings.placement == "output" else args[0] + s * (output - args[0])
            )

        return hook

    handles = [
        layer.register_forward_hook(gate(i)) for i, layer in enumerate(decoder_layers(model))
    ]
    for step in range(settings.steps_per_round or len(BLOCKS) // settings.blocks_per_step):
        at = [
            (first + step * settings.blocks_per_step + i) % len(BLOCKS)
            for i in range(settings.blocks_per_step)
        ]
        loss = (
            model(BLOCKS[at], labels=BLOCKS[at], use_cache=False).loss
            + strength * gates.abs().sum()
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
    for handle in handles:
        handle.remove()
    return left, gates.tolist()


@pytest.mark.parametrize("name", ["gates", "paper", "reset_each_round", "steps_per_round"])
def test_gates_are_those_of_a_plain_loop(name: str) -> None:
    settings, strength = GATES[name], 5e-3
    blocks_a_round = settings.blocks_per_step * (
        settings.steps_per_round or len(BLOCKS) // settings.blocks_per_step
    )
    model, values, removed = tiny_model("llama"), [1.0] * LAYERS, list[int]()
    for record in rounds(settings, 3, gate_l1=strength):
        if settings.reset_each_round:
            values = [1.0] * LAYERS
        left, gates = naive_round(
            model, removed, values, settings, strength, first=blocks_a_round * record.round
        )
        assert record.gate_layers == tuple(left)
        assert list(record.scores.values()) == pytest.approx(gates, abs=1e-4)
        assert record.layer == left[gates.index(min(gates))]
        values = [
            gates[left.index(layer)] if layer in left else values[layer] for layer in range(LAYERS)
        ]
        removed.append(record.layer)


@every_gates
def test_records_hold_every_gate_at_every_step(selector: GatesSettings) -> None:
    steps = selector.steps_per_round or len(BLOCKS) // selector.blocks_per_step
    for record in rounds(selector, 2):
        assert len(record.gate_steps) == len(record.lm_loss) == steps
        assert tuple(record.scores) == record.gate_layers
        gates = torch.tensor(record.gate_steps)
        deciding = gates.mean(0) if selector.average_steps else gates[-1]
        assert list(record.scores.values()) == pytest.approx(deciding.tolist())


def test_each_setting_changes_something() -> None:
    """Else the tests above run one thing six times."""
    found = {
        name: tuple(rounds(selector, 3)[-1].scores.items()) for name, selector in GATES.items()
    }
    for (one, ours), (other, theirs) in itertools.combinations(found.items(), 2):
        assert ours != theirs, f"{one} and {other}"


def without_effect(layer: int) -> Any:
    """A llama whose ``layer`` adds nothing to the stream."""
    model = tiny_model("llama")
    torch.nn.init.zeros_(decoder_layers(model)[layer].self_attn.o_proj.weight)
    torch.nn.init.zeros_(decoder_layers(model)[layer].mlp.down_proj.weight)
    return model


@pytest.mark.parametrize("unused", [0, 3, 5])
def test_the_penalty_alone_drives_an_unused_gate_down(unused: int) -> None:
    settings = GatesSettings.model_validate(FAST | {"learning_rate": 1e-2, "blocks_per_step": 1})
    (penalised,) = rounds(settings, 1, without_effect(unused), gate_l1=5e-3)
    down = [step[unused] for step in penalised.gate_steps]
    assert down == pytest.approx([1 - 1e-2 * (step + 1) for step in range(len(BLOCKS))], abs=1e-5)
    (free,) = rounds(settings, 1, without_effect(unused), gate_l1=0.0)
    assert free.scores[unused] == 1.0
    assert all(value != 1.0 for layer, value in free.scores.items() if layer != unused)


def test_the_smallest_gate_goes_by_its_sign_not_its_size() -> None:
    """A gate that has been driven below 0 goes before one near 0."""
    records = rounds(
        GatesSettings.model_validate(FAST | {"learning_rate": 2.0, "steps_per_round": 1}),
        1,
        gate_l1=5e-3,
    )
    assert min(records[0].scores.values()) < -0.5
    assert records[0].layer == min(records[0].scores, key=lambda layer: records[0].scores[layer])
    assert records[0].layer != min(
        records[0].scores, key=lambda layer: abs(records[0].scores[layer])
    )


def test_a_published_round_keeps_its_choice_even_when_retrained() -> None:
    """The layers before a continuation are whatever was published: other stages may have used them already."""
    for name in ("gates", "train_weights"):
        first = rounds(GATES[name], 1)[0]
        other = first.model_copy(update={"layer": (first.layer + 1) % LAYERS})
        (second,) = rounds(GATES[name], 2, done=[other])
        assert other.layer not in second.gate_layers
        assert first.layer in second.gate_layers


# --- sleb and block influence -----------------------------------------------------------------------------------------


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


# --- controls ---------------------------------------------------------------------------------------------------------


def test_reverse_is_deepest_first_and_keeps_the_last() -> None:
    assert order(rounds(ReverseSettings(), LAYERS - 1)) == [4, 3, 2, 1, 0]


def test_random_orders_belong_to_their_seeds() -> None:
    orders = [tuple(order(rounds(RandomSettings(), LAYERS - 1, seed=seed))) for seed in range(8)]
    assert orders == [
        tuple(order(rounds(RandomSettings(), LAYERS - 1, seed=seed))) for seed in range(8)
    ]
    assert len(set(orders)) > 4
