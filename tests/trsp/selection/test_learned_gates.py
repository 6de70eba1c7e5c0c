"""Learned gates against a plain loop, and what each of their settings does."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import LAYERS, tiny_model
from tests.trsp.selection.rankings import BLOCKS, FAST, GATES, every_gates, ranking, rounds
from trsp.architecture.decoders import decoder_layers
from trsp.config import GatesSettings


def naive_round(
    model: Any,
    removed: list[int],
    start: list[float],
    settings: GatesSettings,
    strength: float,
    first: int,
) -> Any:
    """One round of docs/method.md, section 1, in plain torch.

    The gate is its formula, the optimizer torch's own.
    """
    left = [layer for layer in range(LAYERS) if layer not in removed]
    gates = torch.tensor([start[layer] for layer in left], requires_grad=True)
    adam = torch.optim.AdamW([gates], lr=settings.learning_rate, weight_decay=0.0)

    def gate(layer: int) -> Any:
        def hook(_: Any, args: Any, output: Tensor) -> Tensor:
            if layer in removed:
                return args[0]
            s = gates[left.index(layer)]
            if settings.placement == "output":
                return s * output
            return args[0] + s * (output - args[0])

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
    settings, strength = GATES[name], 5e-3  # lambda_1's default
    blocks_a_round = settings.blocks_per_step * (
        settings.steps_per_round or len(BLOCKS) // settings.blocks_per_step
    )
    model, values, removed = tiny_model("llama"), [1.0] * LAYERS, list[int]()
    for record in ranking(settings)[:3]:
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
    for record in ranking(selector):
        assert len(record.gate_steps) == len(record.lm_loss) == steps
        assert tuple(record.scores) == record.gate_layers
        gates = torch.tensor(record.gate_steps)
        deciding = gates.mean(0) if selector.average_steps else gates[-1]
        assert list(record.scores.values()) == pytest.approx(deciding.tolist())


def test_each_setting_changes_something() -> None:
    """Else the tests above run one thing six times."""
    scores = {name: ranking(selector)[2].scores for name, selector in GATES.items()}
    for (one, ours), (other, theirs) in itertools.combinations(scores.items(), 2):
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
    """Layers before a continuation are as published: other stages may have used them already."""
    for name in ("gates", "train_weights"):
        first = ranking(GATES[name])[0]
        other = first.model_copy(update={"layer": (first.layer + 1) % LAYERS})
        (second,) = rounds(GATES[name], 2, done=[other])
        assert other.layer not in second.gate_layers
        assert first.layer in second.gate_layers
