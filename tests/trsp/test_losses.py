"""Losses, penalties and the annealing schedule, against numbers by hand or by another path."""

import math

import pytest
import torch
from torch.nn import functional

from tests.tiny import VOCABULARY, tiny_model
from trsp.config import DriftSettings
from trsp.losses import branch_scale, drift_function, gate_l1, l1_drift, l2_drift, lm_loss


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_lm_loss_is_that_of_transformers_over_all_tokens() -> None:
    model, generator = tiny_model("llama"), torch.Generator().manual_seed(1)
    tokens_BT = torch.randint(0, VOCABULARY, (2, 24), generator=generator)
    with torch.no_grad():
        output = model(tokens_BT, labels=tokens_BT)
    torch.testing.assert_close(lm_loss(output.logits, tokens_BT), output.loss)


def test_the_lm_loss_counts_every_predicted_token_once() -> None:
    """Token t is predicted from position t - 1.

    A model sure of the next token loses nothing, one sure of the present token much.
    """
    tokens_BT = torch.tensor([[3, 1, 4, 1, 5]])
    sure_of_next = 50.0 * functional.one_hot(tokens_BT.roll(-1, dims=1), 8).float()
    assert lm_loss(sure_of_next, tokens_BT).item() == pytest.approx(0.0, abs=1e-6)
    wrong_once = sure_of_next.clone()
    wrong_once[0, 0] = 0.0  # uniform over 8
    assert lm_loss(wrong_once, tokens_BT).item() == pytest.approx(math.log(8) / 4)


def test_the_lm_loss_is_computed_in_fp32() -> None:
    logits_BTV, tokens_BT = random(2, 64, 1000).bfloat16(), torch.randint(0, 1000, (2, 64))
    loss = lm_loss(logits_BTV, tokens_BT)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(
        loss, lm_loss(logits_BTV.double().float(), tokens_BT), rtol=0, atol=0
    )


def test_gate_l1_is_the_weighted_sum_of_absolute_gates() -> None:
    gates = torch.tensor([1.0, -0.5, 0.25], requires_grad=True)
    penalty = gate_l1(gates, 2.0)
    penalty.backward()
    assert penalty.item() == 3.5
    assert gates.grad is not None
    assert gates.grad.tolist() == [2.0, -2.0, 2.0]


def test_absolute_l2_drift_is_the_mean_over_sequences_of_frobenius_norms() -> None:
    x_BTD = torch.zeros(2, 3, 4)
    y_BTD = x_BTD.clone()
    y_BTD[0, 1, 2], y_BTD[0, 2, 3] = 3.0, 4.0  # norm 5
    y_BTD[1, 2, 0] = 1.0
    assert l2_drift(x_BTD, y_BTD, relative=False).item() == pytest.approx((5 + 1) / 2)


def test_relative_l2_drift_is_the_mean_over_tokens_of_each_ones_own_ratio() -> None:
    """A token of huge norm, as attention sinks have, counts as one token."""
    x_BTD = torch.ones(1, 3, 4)  # norm 2 each
    x_BTD[0, 0] = 1e4
    y_BTD = x_BTD.clone()
    y_BTD[0, 1, 0] += 3.0
    y_BTD[0, 2, 0] += 1.0
    assert l2_drift(x_BTD, y_BTD, relative=True).item() == pytest.approx((0 + 3 / 2 + 1 / 2) / 3)


def test_l1_drift_is_the_mean_absolute_difference() -> None:
    x_BTD, y_BTD = torch.full((2, 3, 4), -2.0), torch.full((2, 3, 4), -2.0)
    y_BTD[0, 0, 0] = 10.0
    assert l1_drift(x_BTD, y_BTD, relative=False).item() == pytest.approx(12 / 24)
    assert l1_drift(x_BTD, y_BTD, relative=True).item() == pytest.approx(12 / 24 / 2)


@pytest.mark.parametrize("drift", [l2_drift, l1_drift])
def test_relative_drift_knows_no_scale_and_absolute_drift_does(drift: object) -> None:
    x_BTD, y_BTD = random(2, 5, 8), random(2, 5, 8, seed=1)
    relative, absolute = (
        [drift(scale * x_BTD, scale * y_BTD, relative=kind).item() for scale in (1.0, 100.0)]  # type: ignore[operator]
        for kind in (True, False)
    )
    assert relative[1] == pytest.approx(relative[0])
    assert absolute[1] == pytest.approx(100 * absolute[0])


def test_a_relative_drift_cannot_be_lowered_through_its_divisor() -> None:
    """With y - x fixed, a longer x would lower the ratio; no gradient may say so."""
    x_BTD = random(2, 5, 8).requires_grad_()
    l2_drift(x_BTD, x_BTD + random(2, 5, 8, seed=1), relative=True).backward()
    assert x_BTD.grad is not None
    torch.testing.assert_close(x_BTD.grad, torch.zeros_like(x_BTD), rtol=0, atol=1e-7)


@pytest.mark.parametrize("drift", [l2_drift, l1_drift])
def test_a_layer_that_adds_nothing_has_no_drift_and_a_finite_gradient(drift: object) -> None:
    y_BTD = random(2, 5, 8).requires_grad_()
    loss = drift(y_BTD.detach(), y_BTD, relative=True)  # type: ignore[operator]
    loss.backward()
    assert loss.item() == 0.0
    assert y_BTD.grad is not None
    assert y_BTD.grad.isfinite().all()


def test_drift_is_summed_in_fp32_whatever_the_models_precision() -> None:
    """In bf16 a sum of many equal squares stops growing."""
    x_BTD = torch.ones(1, 1000, 100, dtype=torch.bfloat16)
    assert l2_drift(x_BTD, 2 * x_BTD, relative=False).item() == pytest.approx(
        math.sqrt(1e5), rel=1e-5
    )
    assert l1_drift(x_BTD, 2 * x_BTD, relative=True).item() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("scale", ["relative", "absolute"])
def test_settings_name_their_function(norm: str, scale: str) -> None:
    x_BTD, y_BTD = random(2, 5, 8), random(2, 5, 8, seed=1)
    settings = DriftSettings.model_validate({"norm": norm, "drift_scale": scale})
    wanted = {"l2": l2_drift, "l1": l1_drift}[norm](x_BTD, y_BTD, relative=scale == "relative")
    assert drift_function(settings)(x_BTD, y_BTD).item() == wanted.item()


def test_the_papers_drift_is_literal() -> None:
    paper = DriftSettings(preset="paper")
    assert (paper.norm, paper.drift_scale, paper.anneal) == ("l2", "absolute", False)
    assert (paper.learning_rate, paper.warmup_ratio, paper.weight_decay) == (2e-5, 0.03, 0.0)
    assert [branch_scale(step, 10, paper) for step in range(10)] == [1.0] * 10
    x_BTD, y_BTD = random(1, 5, 8), random(1, 5, 8, seed=1)
    assert drift_function(paper)(x_BTD, y_BTD).item() == pytest.approx(
        (y_BTD - x_BTD).norm().item()
    )


def test_a_preset_is_a_start_that_settings_may_leave() -> None:
    assert DriftSettings(preset="paper", anneal=True).anneal


def test_branches_go_down_linearly_and_are_held_at_zero() -> None:
    scales = [branch_scale(step, 9, DriftSettings(anneal_ratio=0.5)) for step in range(9)]
    assert scales == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.75, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 64])
def test_whatever_the_numbers_the_last_step_is_at_zero(steps: int, ratio: float) -> None:
    scales = [branch_scale(step, steps, DriftSettings(anneal_ratio=ratio)) for step in range(steps)]
    assert scales[-1] == 0.0
    assert scales == sorted(scales, reverse=True)
    assert 0.0 <= scales[0] < 1.0
    assert steps == 1 or scales[0] > 0.0, "the branches must be seen once on their way down"
