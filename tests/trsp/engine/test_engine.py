"""The engine's steps: rates, gradients, precision, recomputed activations."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.tiny import LAYERS, tiny_model, weights
from tests.trsp.engine.ways import BLOCKS, WAYS
from tests.trsp.host_reads import host_reads
from trsp.architecture.families import FAMILIES
from trsp.checkpoints.checkpoint import load_model
from trsp.config import EngineSettings, GatesSettings
from trsp.engine.engine import Engine
from trsp.engine.gate_optimizer import GateOptimizer
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.gates import gated
from trsp.losses import gate_l1
from trsp.selection import rank_layers
from trsp.training.micro_batches import batch


def test_the_rate_warms_up_linearly_and_goes_down_to_nothing() -> None:
    schedule = OptimizerConfig(learning_rate=1.0, steps=7, warmup_steps=2)
    assert [schedule.rate(step) for step in range(8)] == pytest.approx(
        [1 / 3, 2 / 3, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0]
    )


def test_without_warm_up_the_first_step_has_the_whole_rate() -> None:
    assert [OptimizerConfig(1.0, steps=2).rate(step) for step in range(2)] == pytest.approx(
        [1.0, 0.5]
    )


def test_a_rankings_rate_knows_no_depth() -> None:
    assert {OptimizerConfig(0.1, steps=1, constant=True).rate(step) for step in range(100)} == {0.1}


def test_the_engine_trains_at_the_schedules_rates() -> None:
    for way in ("zero 0", "zero 2", "zero 3"):
        with Engine(
            tiny_model("llama"), WAYS[way], 1, OptimizerConfig(1e-3, steps=4, warmup_steps=1)
        ) as engine:
            seen = []
            for step in range(4):
                engine.step(batch(BLOCKS, step, 1))
                (rate,) = {group["lr"] for group in engine._engine.optimizer.param_groups}
                seen.append(rate)
        assert seen == pytest.approx([5e-4, 1e-3, 2e-3 / 3, 1e-3 / 3]), way


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 9])
def test_the_gates_gradient_is_that_of_the_effective_batchs_mean_loss(micro_batch: int) -> None:
    """AdamW hides a factor; the gradient itself does not."""
    seen: list[Tensor] = []

    class Watched(GateOptimizer):
        def step(self) -> None:
            seen.append(self.gates.grad.clone())  # type: ignore[union-attr]
            super().step()

    model, gates = tiny_model("llama"), torch.ones(LAYERS, requires_grad=True)
    with gated(model, gates, range(LAYERS), "residual"):
        loss = model(BLOCKS[:4], labels=BLOCKS[:4], use_cache=False).loss + 0.01 * gates.abs().sum()
        (wanted,) = torch.autograd.grad(loss, gates)
        with Engine(model, EngineSettings(micro_batch=micro_batch), 4) as engine:
            engine.step(BLOCKS[:4], lambda: gate_l1(gates, 1.0), 0.01, Watched(gates, 0.1))
    torch.testing.assert_close(seen[0], wanted, rtol=1e-4, atol=1e-6)


def test_losses_are_read_once_per_step_however_many_micro_batches() -> None:
    reads = {}
    for micro_batch in (1, 4):
        with Engine(tiny_model("llama"), EngineSettings(micro_batch=micro_batch), 4) as engine:
            gates = torch.ones(LAYERS, requires_grad=True)
            with gated(engine.model, gates, range(LAYERS), "residual"), host_reads() as read:
                engine.step(BLOCKS[:4], lambda gates=gates: gate_l1(gates, 1.0), 0.1)
            reads[micro_batch] = list(read)
    assert reads[1] == reads[4]
    assert "tolist" in reads[1]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_activation_checkpointing_changes_no_familys_gates(family: str) -> None:
    """Dropout stays off: OPT's layers would turn theirs on in training mode.

    That mode is what transformers' own switch needs.
    """
    gradients = []
    for checkpointing in (False, True):
        model, gates = tiny_model(family), torch.ones(LAYERS, requires_grad=True)
        optimizer = GateOptimizer(gates, learning_rate=0.1)
        settings = EngineSettings(zero_stage=0, activation_checkpointing=checkpointing)
        with Engine(model, settings, 1) as engine, gated(model, gates, range(LAYERS), "residual"):
            loss = engine.step(BLOCKS[:1], lambda gates=gates: gate_l1(gates, 1.0), 0.01, optimizer)
        gradients.append((loss.lm, gates.detach()))
    assert gradients[0][0] == gradients[1][0]
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=0, atol=1e-5)


def test_activation_checkpointing_recomputes_the_layers() -> None:
    """Each layer's MLP runs twice per step: in the forward pass and again in the backward pass."""
    for checkpointing, wanted in ((False, 1), (True, 2)):
        model, calls = tiny_model("llama"), []
        handle = model.model.layers[2].mlp.register_forward_pre_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        settings = EngineSettings(activation_checkpointing=checkpointing)
        with Engine(model, settings, 1, OptimizerConfig(1e-3, steps=1)) as engine:
            engine.step(BLOCKS[:1])
        handle.remove()
        assert len(calls) == wanted


def test_a_bf16_model_keeps_its_fp32_buffers(tiny_llama: Path) -> None:
    """Rotary frequencies in bf16 would place the tokens of a long text wrongly."""
    model = load_model(str(tiny_llama), precision="bf16", device="cpu")
    buffers = {name: buffer.dtype for name, buffer in model.named_buffers()}
    assert torch.float32 in buffers.values()
    with Engine(model, WAYS["zero 2"], 1, OptimizerConfig(1e-3, steps=1)) as engine:
        engine.step(BLOCKS[:1])
        assert {name: buffer.dtype for name, buffer in model.named_buffers()} == buffers
    assert {name: buffer.dtype for name, buffer in model.named_buffers()} == buffers
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("way", ["zero 0", "zero 1", "zero 2", "zero 3"])
def test_bf16_weights_have_fp32_masters(way: str) -> None:
    """Twenty steps far below bf16's resolution add up; without a master copy none would be seen."""
    model = tiny_model("llama", layers=2, dtype=torch.bfloat16)
    before = weights(model)["model.embed_tokens.weight"]
    rate = 2e-5  # a weight of 0.15 has bf16 steps of 1e-3
    with Engine(model, WAYS[way], 1, OptimizerConfig(rate, steps=1, constant=True)) as engine:
        for _ in range(20):
            engine.step(BLOCKS[:1])
    moved = (weights(model)["model.embed_tokens.weight"] - before)[BLOCKS[0].unique()].abs().float()
    assert 1e-4 < moved.mean() < 1e-3


@pytest.mark.parametrize("train_weights", [False, True])
def test_gates_stay_fp32_and_move_by_less_than_bf16s_step(train_weights: bool) -> None:
    """bf16 knows nothing between 1 - 2^-8 and 1 (nor 1 and 1 + 2^-7)."""
    model = tiny_model("llama", dtype=torch.bfloat16)
    selector = GatesSettings(learning_rate=1e-4, blocks_per_step=4, train_weights=train_weights)
    (record,) = rank_layers(model, BLOCKS, selector, depth=1, gate_l1=1e-3)
    gates = torch.tensor(record.gate_steps)
    assert gates.bfloat16().unique().tolist() == [1.0]
    assert len(gates[-1].unique()) == LAYERS, "no ties"
    assert (gates[0] - 1).abs() == pytest.approx(1e-4, rel=1e-2), "AdamW's first step is its rate"
