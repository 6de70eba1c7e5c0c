"""The gradients of many micro-batches add up without loss, also where the weights are bf16."""

import pytest
import torch
from torch import Tensor

from tests.tiny import tiny_model
from tests.trsp.engine.ways import WAYS
from trsp.config import EngineSettings
from trsp.engine.deepspeed_config import effective_stage, sums_in_fp32
from trsp.engine.engine import Engine
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.engine.state_pieces import adam_state, pieces
from trsp.losses import lm_loss

MICRO_STEPS = 32
BLOCKS = torch.randint(0, 256, (MICRO_STEPS, 8), generator=torch.Generator().manual_seed(0))
LAYERS = 1
BETA_1 = 0.9  # Adam's: after one step the first moment is a tenth of the gradient


def summed_in_fp32() -> dict[str, Tensor]:
    """The gradient of the mean loss: each block's in bf16, their sum in fp32."""
    model = tiny_model("llama", layers=LAYERS, dtype=torch.bfloat16)
    sums = {name: torch.zeros(each.shape) for name, each in model.named_parameters()}
    for block_T in BLOCKS:
        loss = lm_loss(model(block_T[None], use_cache=False).logits, block_T[None]) / MICRO_STEPS
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for each, gradient in zip(sums.values(), gradients, strict=True):
            each += gradient.float()
    return sums


def summed_by_the_engine(settings: EngineSettings) -> dict[str, Tensor]:
    """The gradient that Adam saw."""
    model = tiny_model("llama", layers=LAYERS, dtype=torch.bfloat16)
    optimizer = OptimizerConfig(1e-3, steps=1, max_grad_norm=1e6)
    with Engine(model, settings, MICRO_STEPS, optimizer) as engine:
        engine.step(BLOCKS)
        return {
            piece.name: piece.of(adam_state(engine._engine, piece.holder)["exp_avg"]).clone()
            / (1 - BETA_1)
            for group in pieces(engine._engine)
            for piece in group
        }


@pytest.mark.parametrize("way", ["zero 0", "zero 1", "zero 2", "zero 3", "zero 2, offloaded"])
def test_the_sum_of_many_bf16_gradients_is_that_of_fp32(way: str) -> None:
    """Added up in bf16 they differ by half a per cent and more at 32 micro-batches."""
    found, wanted = (
        summed_by_the_engine(WAYS[way].model_copy(update={"micro_batch": 1})),
        summed_in_fp32(),
    )
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (found[name] - tensor.flatten()).norm() < 1e-5 * tensor.norm(), name


def test_one_micro_batch_needs_no_sum() -> None:
    assert not sums_in_fp32(EngineSettings(), bf16=True, micro_steps=1)
    assert not sums_in_fp32(EngineSettings(), bf16=False, micro_steps=2)
    assert sums_in_fp32(EngineSettings(), bf16=True, micro_steps=2)


def test_an_optimizer_on_nvme_keeps_bf16() -> None:
    on_nvme = EngineSettings(zero_stage=3, offload_optimizer="nvme", nvme_path="/tmp")
    assert not sums_in_fp32(on_nvme, bf16=True, micro_steps=2)


@pytest.mark.parametrize(("asked", "run"), [(0, 1), (1, 1), (2, 2), (3, 3)])
def test_fp32_sums_without_zero_run_under_stage_1(asked: int, run: int) -> None:
    settings = EngineSettings(zero_stage=asked)
    assert effective_stage(settings, trains=True, fp32_sums=True) == run
    assert effective_stage(settings, trains=True) == asked
