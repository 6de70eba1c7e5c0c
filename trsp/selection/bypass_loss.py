"""The loss of a model without each of its layers in turn, from one pass and the ends of others."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trsp.architecture.decoders import decoder_layers, layer_input
from trsp.batch_sizes import rows_at_once
from trsp.losses import lm_loss
from trsp.surgery import bypassed, resumed_after


@torch.no_grad()
def bypass_losses(
    model: Any,
    blocks_NT: Tensor,
    candidates: Collection[int],
    removed: Sequence[int] = (),
    beat: Callable[[], None] = lambda: None,
) -> dict[int, float]:
    """Return the mean NLL of all predicted tokens without each of ``candidates``, by layer.

    In nats per token, with ``removed`` bypassed as well. Layers before a candidate compute what
    they would without it, so they are passed once for all: a pass of the model stops before each
    candidate, computes the loss from its input on, and goes on through it. That is about half of
    the work, no memory but for one layer's input, and the same numbers to the last digit. ``beat``
    is called after each loss.
    """
    sums: dict[int, list[Tensor]] = {layer: [] for layer in candidates}
    with bypassed(model, removed):
        for blocks_BT in blocks_NT.to(model.device).split(rows_at_once(model, blocks_NT.shape[1])):

            def score(layer: int, hidden_BTD: Tensor, blocks_BT: Tensor = blocks_BT) -> None:
                with resumed_after(model, layer, hidden_BTD):
                    logits_BTV = model(input_ids=blocks_BT, use_cache=False).logits
                sums[layer].append(len(blocks_BT) * lm_loss(logits_BTV, blocks_BT))
                beat()

            with _stopping_before(model, candidates, score):
                model.base_model(input_ids=blocks_BT, use_cache=False)  # nobody reads logits
    return {
        layer: torch.stack(of_layer).sum(dtype=torch.float64).item() / len(blocks_NT)
        for layer, of_layer in sums.items()
    }


@contextmanager
def _stopping_before(
    model: Any, layers: Collection[int], visit: Callable[[int, Tensor], None]
) -> Iterator[None]:
    """While open, ``visit`` has each of ``layers`` and its input before a pass goes through it.

    A pass within ``visit`` is not visited.
    """
    inside = False

    def before(layer: int) -> Callable[..., None]:
        def hook(_: nn.Module, args: Any, kwargs: Any) -> None:
            nonlocal inside
            if not inside:
                inside = True
                try:
                    visit(layer, layer_input(args, kwargs))
                finally:
                    inside = False

        return hook

    with ExitStack() as stack:
        for layer in layers:
            handle = decoder_layers(model)[layer].register_forward_pre_hook(
                before(layer), with_kwargs=True
            )
            stack.callback(handle.remove)
        yield
