"""Gates on decoder layers, and the branch scale of stage two, as forward hooks: no module is wrapped, no name changes.

Shapes: B sequences, T tokens, D hidden width, L layers. ``x`` is a layer's input, ``y`` its output (after the residual add).
It knows nothing of losses, optimizers or the choice of layers.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from torch import Tensor, nn

from trsp.decoders import decoder_layers, layer_hidden, layer_input, with_hidden

Placement = Literal["output", "residual"]


def apply_gate(x_BTD: Tensor, y_BTD: Tensor, gate: Tensor, placement: Placement) -> Tensor:
    """``output``: s * y (TRSP eq. 1). ``residual``: x + s * (y - x). Returns [B, T, D].

    Written as ``y + (s - 1) * ...``: the layer's output is exact at s = 1 and s - 1 keeps its precision in bf16, where s
    itself has steps of 2^-8 near 1.
    """
    offset = (gate - 1.0).to(y_BTD.dtype)
    return y_BTD + offset * (y_BTD if placement == "output" else y_BTD - x_BTD)


@contextmanager
def gated(model: nn.Module, gates: Tensor, layers: Sequence[int], placement: Placement) -> Iterator[None]:
    """Within the block, layer ``layers[i]`` of the model is multiplied by ``gates[i]`` (fp32, shape [len(layers)])."""
    decoder = decoder_layers(model)
    with ExitStack() as stack:
        for position, layer in enumerate(layers):

            def hook(_: nn.Module, args: Any, kwargs: Any, output: Any, position: int = position) -> Any:
                y = layer_hidden(output)
                return with_hidden(output, apply_gate(layer_input(args, kwargs), y, gates[position], placement))

            handle = decoder[layer].register_forward_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
        yield


class Branches:
    """Stage two's view of the chosen layers: measures each one's drift and scales its branch.

    ``scale``: 1 leaves the layers as they are; 0 < scale < 1 gives ``x + scale * (y - x)``.
    """

    def __init__(self, model: nn.Module, layers: Sequence[int], drift: Any) -> None:
        """``drift``: function of (x, y) returning a scalar, or None where nothing is measured."""
        self.scale = 1.0
        self._drift = drift
        self._measured: list[Tensor] = []
        decoder = decoder_layers(model)
        self._handles = [decoder[layer].register_forward_hook(self._hook, with_kwargs=True) for layer in layers]

    def _hook(self, _: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        x, y = layer_input(args, kwargs), layer_hidden(output)
        if self.scale == 0.0:  # the layer is bypassed: y is x
            return output
        if self._drift is not None:
            self._measured.append(self._drift(x, y))
        return output if self.scale == 1.0 else with_hidden(output, x + self.scale * (y - x))

    def take_drift(self) -> Tensor | None:
        """Sum over the chosen layers of the drift in the last forward pass (fp32 scalar), then forgotten."""
        measured, self._measured = self._measured, []
        return sum(measured[1:], measured[0]) if measured else None

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
