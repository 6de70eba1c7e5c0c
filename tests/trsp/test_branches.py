"""Stage two's hooks on the chosen layers: the drift they measure, its gradients and its memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.tiny import HIDDEN, tiny_model
from trsp.architecture.decoders import decoder_layers, layer_hidden, layer_input, with_hidden
from trsp.gates import Branches, Drift, gated
from trsp.losses import l1_drift, l2_drift, lm_loss

IDS = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def logits(model: Any) -> Tensor:
    result: Tensor = model(IDS, use_cache=False).logits
    return result


def inputs_and_outputs(model: Any, layers: list[int]) -> list[tuple[Tensor, Tensor]]:
    """(x, y) of the layers, read by hooks of the test's own."""
    seen: list[tuple[Tensor, Tensor]] = []
    handles = [
        decoder_layers(model)[layer].register_forward_hook(
            lambda _, args, kwargs, output: seen.append(
                (layer_input(args, kwargs), layer_hidden(output))
            ),
            with_kwargs=True,
        )
        for layer in layers
    ]
    logits(model)
    for handle in handles:
        handle.remove()
    return seen


def drift(x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
    return l2_drift(x_BTD, y_BTD, relative=True)


def test_drift_is_summed_over_the_chosen_layers_and_measured_before_scaling() -> None:
    model = tiny_model("llama")
    wanted = sum(drift(x, y) for x, y in inputs_and_outputs(model, [1, 2]))
    branches = Branches(model, [1, 2], drift)
    for _ in range(2):  # a second forward pass must not add to the first
        logits(model)
        torch.testing.assert_close(branches.take_drift(), wanted)
    assert branches.take_drift() is None

    branches.scale = 0.25
    logits(model)
    first_x, first_y = inputs_and_outputs(tiny_model("llama"), [1])[0]
    scaled = branches.take_drift()
    assert scaled is not None
    assert scaled > drift(first_x, first_y), (
        "layer 1 reads the same stream: its own drift counts whole"
    )


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.1])
def test_a_scaled_branch_is_a_residual_gate(scale: float) -> None:
    model = tiny_model("gpt2")
    before = logits(model)
    with gated(model, torch.full((2,), scale), [0, 3], "residual"):
        wanted = logits(model)
    branches = Branches(model, [0, 3], None)
    branches.scale = scale
    torch.testing.assert_close(logits(model), wanted)
    branches.remove()
    assert torch.equal(logits(model), before)


# --- what the drift costs in memory --------------------------------------------


def kept_bytes(model: Any, penalty: Callable[[], Tensor | None]) -> int:
    """Bytes of activations that autograd has saved between a forward pass and its backward pass."""
    kept: list[Tensor] = []  # held, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = lm_loss(model(IDS, use_cache=False).logits, IDS)
        extra = penalty()
        _ = loss if extra is None else loss + extra
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept
    }
    return sum(size for address, size in storages.items() if address not in weights)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(
    ("family", "dtype", "recomputed"),
    [
        ("llama", torch.float32, False),
        ("gpt2", torch.bfloat16, False),
        ("llama", torch.bfloat16, True),
    ],
)
def test_the_drift_keeps_no_activation_alive(
    family: str, dtype: torch.dtype, recomputed: bool, scale: float
) -> None:
    """Beyond what layers keep it keeps numbers, not activations.

    Layers keep their inputs, as they are or to be computed again.
    """
    model = tiny_model(family, dtype=dtype)
    if recomputed:
        for layer in decoder_layers(model):
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    activation = IDS.numel() * HIDDEN * dtype.itemsize

    def scaled(measured: Drift | None) -> tuple[int, Branches]:
        branches = Branches(model, [1, 3], measured)
        branches.scale = scale
        kept = kept_bytes(model, branches.take_drift)
        branches.remove()
        return kept, branches

    without, _ = scaled(None)
    ours, _ = scaled(drift)
    assert ours <= without + 64, f"{ours - without} bytes more; an activation has {activation}"

    seen: list[Tensor] = []
    handles = [  # what autograd makes of the formula itself
        decoder_layers(model)[layer].register_forward_hook(
            lambda _, args, kwargs, output: seen.append(
                drift(layer_input(args, kwargs), layer_hidden(output))
            ),
            with_kwargs=True,
        )
        for layer in (1, 3)
    ]
    naively = kept_bytes(model, lambda: sum(seen))  # type: ignore[arg-type, return-value]
    for handle in handles:
        handle.remove()
    plain = kept_bytes(model, lambda: None)
    assert naively >= plain + 2 * activation, (
        "the control: the account sees activations that are kept"
    )


@pytest.mark.parametrize("measured", [l2_drift, l1_drift])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_gradients_through_a_measured_branch_are_those_of_the_formula(
    measured: Any, relative: bool, scale: float
) -> None:
    penalty = partial(measured, relative=relative)
    ours, theirs = tiny_model("llama"), tiny_model("llama")
    branches = Branches(ours, [1, 3], penalty)
    branches.scale = scale
    seen: list[Tensor] = []

    def literal(_: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        x, y = layer_input(args, kwargs), layer_hidden(output)
        seen.append(penalty(x, y))
        return with_hidden(output, x + scale * (y - x))

    for layer in (1, 3):
        decoder_layers(theirs)[layer].register_forward_hook(literal, with_kwargs=True)
    for model, total in ((ours, branches.take_drift), (theirs, lambda: sum(seen))):
        lm = lm_loss(model(IDS, use_cache=False).logits, IDS)
        (lm + 3.0 * total()).backward()  # type: ignore[operator]
    for (name, found), (_, wanted) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        torch.testing.assert_close(
            found.grad,
            wanted.grad,
            rtol=1e-3,
            atol=1e-5,
            msg=lambda text, name=name: f"{name}: {text}",
        )
