"""ShortGPT's block influence: the selector that reads activations of the unchanged model once."""

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trsp.architecture.decoders import decoder_layers, layer_hidden, layer_input
from trsp.batch_sizes import rows_at_once
from trsp.config import BlockInfluenceSettings
from trsp.progress_lines import tick
from trsp.records import RoundRecord
from trsp.selection.order import candidates, one_shot


@torch.no_grad()
def block_influence(model: Any, blocks_NT: Tensor) -> list[float]:
    """Return ShortGPT's BI of every layer, L values (ShortGPT eq. 1).

    BI_i = 1 - mean over all N * T tokens of cos(input of layer i, its output).
    """
    layers = decoder_layers(model)
    sums: list[list[Tensor]] = [[] for _ in layers]  # of each layer, one per pass, on its device

    def adding_to(index: int) -> Any:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            cosine = mean_cosine(layer_input(args, kwargs), layer_hidden(output))
            sums[index].append(len(layer_hidden(output)) * cosine.double())

        return hook

    handles = [
        layer.register_forward_hook(adding_to(index), with_kwargs=True)
        for index, layer in enumerate(layers)
    ]
    try:
        batches = blocks_NT.to(model.device).split(rows_at_once(model, blocks_NT.shape[1]))
        done = 0
        for blocks_BT in batches:
            model.base_model(input_ids=blocks_BT, use_cache=False)  # nobody reads logits
            done += len(blocks_BT)
            tick(done, len(blocks_NT), "block")
    finally:
        for handle in handles:
            handle.remove()
    return [1.0 - torch.stack(of_layer).sum().item() / len(blocks_NT) for of_layer in sums]


def mean_cosine(x_BTD: Tensor, y_BTD: Tensor) -> Tensor:
    """Return the mean over B * T tokens of cos(x, y), an fp32 scalar where ``y`` lies.

    ``x``, a layer's input, may lie where the layer before put it: on another device.
    """
    x_BTD = x_BTD.to(y_BTD.device, torch.float32)
    return functional.cosine_similarity(x_BTD, y_BTD.float(), dim=-1).mean()


def rank_by_influence(
    model: Any, blocks_NT: Tensor, settings: BlockInfluenceSettings, *, depth: int
) -> list[RoundRecord]:
    """Return ShortGPT's order, all rounds at once: the lowest block influence first."""
    started = time.monotonic()
    influence = block_influence(model, blocks_NT)
    allowed = candidates(len(influence), (), settings.protect_first, settings.protect_last)
    scores = {layer: influence[layer] for layer in allowed}
    return one_shot(scores, depth, time.monotonic() - started)
