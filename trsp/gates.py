"""Gates on decoder layers, and the branch scale of stage two, as forward hooks.

No module is wrapped and no name changes. Shapes: B sequences, T tokens, D hidden width, L layers.
``x`` is a layer's input, ``y`` its output (after the residual add), both [B, T, D]. Nothing here
knows losses, optimizers or the choice of layers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trsp.architecture.decoders import decoder_layers, layer_hidden, layer_input, with_hidden

Placement = Literal["output", "residual"]


def apply_gate(x_BTD: Tensor, y_BTD: Tensor, gate: Tensor, placement: Placement) -> Tensor:
    """Return a layer's output under its gate s, [B, T, D].

    ``output``: s * y (TRSP eq. 1). ``residual``: x + s * (y - x). Both are written as
    ``y + (s - 1) * ...``: the layer's output is exact at s = 1, and s - 1 keeps its precision in
    bf16, where s itself has steps of 2^-8 near 1. It lies where ``y`` does: ``x`` may come from the
    device of the layer before.
    """
    offset = (gate - 1.0).to(y_BTD)
    return y_BTD + offset * (y_BTD if placement == "output" else y_BTD - x_BTD.to(y_BTD.device))


@contextmanager
def gated(
    model: nn.Module, gates: Tensor, layers: Sequence[int], placement: Placement
) -> Iterator[None]:
    """While open, ``gates[i]`` is the gate of layer ``layers[i]`` (fp32, shape [len(layers)])."""
    decoder = decoder_layers(model)
    with ExitStack() as stack:
        for position, layer in enumerate(layers):
            hook = _gate_hook(gates, position, placement)
            handle = decoder[layer].register_forward_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def _gate_hook(gates: Tensor, position: int, placement: Placement) -> Callable[..., Any]:
    """Return a forward hook that applies ``gates[position]``, as it is at that moment."""

    def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        x, y = layer_input(args, kwargs), layer_hidden(output)
        return with_hidden(output, apply_gate(x, y, gates[position], placement))

    return hook


Drift = Callable[[Tensor, Tensor], Tensor]  # (x, y) -> scalar, see trsp.losses


class Branches:
    """Stage two's hooks on the chosen layers: they measure each one's drift and scale its branch.

    ``scale`` may be set between passes: 1 leaves the layers as they are, 0 < scale < 1 gives
    ``x + scale * (y - x)``, and at 0 the caller bypasses the layers and nothing is measured.
    """

    def __init__(self, model: nn.Module, layers: Sequence[int], drift: Drift | None) -> None:
        """Hook ``layers``. ``drift`` measures one of them; None where nothing is measured."""
        self.scale = 1.0
        self._drift = drift
        self._measured: list[Tensor] = []
        decoder = decoder_layers(model)
        self._handles = [
            decoder[layer].register_forward_hook(self._hook, with_kwargs=True) for layer in layers
        ]

    def _hook(self, _: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        y = layer_hidden(output)
        x = layer_input(args, kwargs).to(y.device)  # it may come from the layer before's
        if self.scale == 0.0:  # the layer is bypassed: y is x
            return output
        if self._drift is None:
            if self.scale == 1.0:
                return output
            return with_hidden(output, torch.lerp(x, y, self.scale))
        scaled_BTD, drift = _ScaledAndMeasured.apply(x, y, self.scale, self._drift)  # type: ignore[no-untyped-call]
        self._measured.append(drift)
        return with_hidden(output, scaled_BTD)

    def take_drift(self) -> Tensor | None:
        """Return the drift of the last forward pass, summed over the chosen layers, and forget it.

        An fp32 scalar; None where nothing was measured.
        """
        measured, self._measured = self._measured, []
        return added_up(measured) if measured else None

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()


def added_up(scalars: Sequence[Tensor]) -> Tensor:
    """Return the sum of scalars that may lie on several devices, on that of the first."""
    first = scalars[0]
    return sum((each.to(first.device) for each in scalars[1:]), first)


class _ScaledAndMeasured(torch.autograd.Function):
    """``x + scale * (y - x)`` and ``drift(x, y)``; kept for the backward pass: x and the former.

    Both are inputs of layers, which keep them anyway (as such, or to compute the layer again).
    Autograd alone would keep y - x of every chosen layer; here y comes back from x and the scaled
    output, in fp32. (A norm that reads bf16 through an fp32 copy keeps the copy instead: 2 % more
    activations for a quarter of the layers, none where layers are recomputed;
    benchmarks/step_cost.py.)
    """

    @staticmethod
    def forward(
        ctx: Any, x_BTD: Tensor, y_BTD: Tensor, scale: float, drift: Drift
    ) -> tuple[Tensor, Tensor]:
        scaled_BTD = y_BTD.view_as(y_BTD) if scale == 1.0 else torch.lerp(x_BTD, y_BTD, scale)
        ctx.save_for_backward(x_BTD, scaled_BTD)
        ctx.scale, ctx.drift = scale, drift
        return scaled_BTD, drift(x_BTD, y_BTD)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_scaled_BTD, of_drift = gradients
        x_BTD, scaled_BTD = (tensor.float() for tensor in ctx.saved_tensors)
        y_BTD = scaled_BTD if ctx.scale == 1.0 else x_BTD + (scaled_BTD - x_BTD) / ctx.scale
        with torch.enable_grad():
            leaves = x_BTD.detach().requires_grad_(), y_BTD.detach().requires_grad_()
            of_x_BTD, of_y_BTD = torch.autograd.grad(ctx.drift(*leaves), leaves, of_drift)
        of_x_BTD += (1.0 - ctx.scale) * of_scaled_BTD
        of_y_BTD += ctx.scale * of_scaled_BTD
        return of_x_BTD.to(of_scaled_BTD.dtype), of_y_BTD.to(of_scaled_BTD.dtype), None, None
