"""Gates as hooks: values, gradients, precision, and what an output gate's gradient really is."""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import LAYERS, tiny_model
from trsp.architecture.decoders import decoder_layers
from trsp.config import GatesSettings
from trsp.gates import Placement, apply_gate, gated
from trsp.losses import lm_loss
from trsp.surgery import bypassed

IDS = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(1))
placements = pytest.mark.parametrize("placement", ["output", "residual"])


@torch.no_grad()
def logits(model: Any) -> Tensor:
    result: Tensor = model(IDS, use_cache=False).logits
    return result


def hook_count(model: nn.Module) -> int:
    return sum(
        len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in model.modules()
    )


def naive(x: Tensor, y: Tensor, gate: Tensor, placement: Placement) -> Tensor:
    """The formulas of docs/method.md, sections 1 and 2, word by word."""
    return gate * y if placement == "output" else x + gate * (y - x)


@placements
@pytest.mark.parametrize("value", [1.0, 0.3, 0.0, -0.7])
def test_a_gate_is_its_formula_in_value_and_gradients(placement: Placement, value: float) -> None:
    inputs = [torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    gate = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, 4, dtype=torch.float64)
    found, wanted = (function(*inputs, gate, placement) for function in (apply_gate, naive))
    torch.testing.assert_close(found, wanted)
    gradients = [
        torch.autograd.grad((weights * each).sum(), [*inputs, gate], allow_unused=True)
        for each in (found, wanted)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(
            torch.zeros(()) if ours is None else ours, torch.zeros(()) if theirs is None else theirs
        )


@placements
def test_gates_at_one_leave_a_bf16_model_bit_equal(placement: Placement) -> None:
    model = tiny_model("gemma3_text", dtype=torch.bfloat16)
    before = logits(model)
    with gated(model, torch.ones(LAYERS), range(LAYERS), placement):
        assert torch.equal(logits(model), before)


def test_a_gate_below_bf16s_step_still_changes_a_bf16_model() -> None:
    """1 - 2^-10 rounds to 1 in bf16; as an offset it does not. Gradients come back in fp32."""
    model = tiny_model("llama", dtype=torch.bfloat16)
    gates = torch.full((LAYERS,), 1 - 2**-10, requires_grad=True)
    assert torch.equal(gates.bfloat16().float(), torch.ones(LAYERS))
    before = logits(model)
    with gated(model, gates, range(LAYERS), "residual"):
        output = model(IDS, use_cache=False).logits
    assert not torch.equal(output, before)
    lm_loss(output, IDS).backward()
    assert gates.grad is not None
    assert gates.grad.dtype == torch.float32


def test_gates_belong_to_the_layers_they_are_given_with() -> None:
    model, half = tiny_model("llama"), torch.tensor([0.5, 0.0])
    with bypassed(model, [4]):
        wanted = logits(model)
    with gated(model, half, [1, 4], "residual"):
        assert not torch.allclose(logits(model), wanted)
        half[0] = 1.0
        torch.testing.assert_close(logits(model), wanted)


def test_hooks_go_even_after_an_error() -> None:
    model = tiny_model("llama")
    before = hook_count(model)
    with contextlib.suppress(KeyError), gated(model, torch.ones(LAYERS), range(LAYERS), "output"):
        assert hook_count(model) == before + LAYERS
        raise KeyError
    assert hook_count(model) == before


# --- the output gate on a pre-norm model: docs/output_gate.md ------------------


def gate_gradient(model: Any, placement: Placement) -> Tensor:
    """dL/ds of every layer's gate at s = 1."""
    gates = torch.ones(LAYERS, dtype=torch.float64, requires_grad=True)
    with gated(model, gates, range(LAYERS), placement):
        (gradient,) = torch.autograd.grad(lm_loss(model(IDS, use_cache=False).logits, IDS), gates)
    return gradient


def without_epsilon(family: str, norms: str) -> Any:
    """The norms' epsilon is the one thing that knows the stream's scale."""
    model = tiny_model(family)
    found = [module for module in model.modules() if type(module).__name__ == norms]
    assert len(found) == 2 * LAYERS + 1
    for norm in found:
        setattr(norm, "variance_epsilon" if norms == "LlamaRMSNorm" else "eps", 0.0)
    return model


def branch_gradient(model: Any) -> Tensor:
    """dL/dr of every attention and every MLP at r = 1, [L, 2].

    r scales what the branch adds to the stream.
    """
    scales = torch.ones(LAYERS, 2, requires_grad=True)
    handles = []
    for i, layer in enumerate(decoder_layers(model)):
        for j, branch in enumerate((layer.self_attn, layer.mlp)):

            def scale(_: nn.Module, args: Any, output: Any, i: int = i, j: int = j) -> Any:
                return (
                    (scales[i, j] * output[0], *output[1:])
                    if isinstance(output, tuple)
                    else scales[i, j] * output
                )

            handles.append(branch.register_forward_hook(scale))
    (gradient,) = torch.autograd.grad(lm_loss(model(IDS, use_cache=False).logits, IDS), scales)
    for handle in handles:
        handle.remove()
    return gradient.double()


def later_sums(gradient_L: Tensor) -> Tensor:
    return torch.stack([gradient_L[layer + 1 :].sum() for layer in range(LAYERS)])


def test_an_output_gates_gradient_is_minus_the_sum_of_the_later_branches_gradients() -> None:
    """A llama layer has two branches, and its MLP reads what its attention has added."""
    model = without_epsilon("llama", "LlamaRMSNorm")
    branches = branch_gradient(model).sum(dim=1)
    assert branches.abs().min() > 1e-3, "every branch must matter, or the test says nothing"
    torch.testing.assert_close(
        gate_gradient(model, "output"), -later_sums(branches), rtol=1e-4, atol=1e-6
    )


def test_where_a_layer_is_one_branch_its_residual_gate_is_that_branchs_scale() -> None:
    """GPT-NeoX adds attention and MLP side by side: dL/ds_i = - sum over j > i of dL/dr_j."""
    model = without_epsilon("gpt_neox", "LayerNorm")
    residual = gate_gradient(model, "residual")
    assert residual.abs().min() > 1e-4
    torch.testing.assert_close(
        gate_gradient(model, "output"), -later_sums(residual), rtol=1e-4, atol=1e-6
    )


def test_the_last_output_gate_gets_no_gradient_from_the_loss() -> None:
    """Only the final norm reads the stream behind it, so the penalty alone moves it: first out."""
    model = without_epsilon("llama", "LlamaRMSNorm")
    assert abs(gate_gradient(model, "output")[-1]) < 1e-6
    assert abs(gate_gradient(model, "residual")[-1]) > 1e-3


def test_the_last_output_gate_can_have_any_value() -> None:
    model = without_epsilon("llama", "LlamaRMSNorm")
    before = logits(model)
    with gated(model, torch.tensor([0.01]), [LAYERS - 1], "output"):
        torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-4)
    with gated(model, torch.tensor([0.01]), [LAYERS - 1], "residual"):
        assert (logits(model) - before).abs().max() > 0.1


def test_the_papers_gates_are_literal_and_the_default_is_residual() -> None:
    paper = GatesSettings(preset="paper")
    assert (paper.placement, paper.protect_first, paper.protect_last) == ("output", 0, 0)
    assert not any((paper.train_weights, paper.reset_each_round, paper.average_steps))
    assert paper.steps_per_round is None, "a round is one pass over the calibration data"
    assert GatesSettings().placement == "residual"
