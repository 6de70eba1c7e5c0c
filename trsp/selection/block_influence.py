"""ShortGPT's block influence: the selector that reads activations of the unchanged model once."""

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trsp.architecture.decoders import decoder_layers, layer_hidden, layer_input
from trsp.config import BlockInfluenceSettings
from trsp.records import RoundRecord
from trsp.selection.order import candidates, one_shot


@torch.no_grad()
def block_influence(model: Any, blocks_NT: Tensor) -> list[float]:
    """Return ShortGPT's BI of every layer, L values (ShortGPT eq. 1).

    BI_i = 1 - mean over all N * T tokens of cos(input of layer i, its output).
    """
    layers = decoder_layers(model)
    cosine_L = torch.zeros(len(layers), dtype=torch.float64)

    def adding_to(index: int) -> Any:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            cosine = mean_cosine(layer_input(args, kwargs), layer_hidden(output))
            cosine_L[index] += cosine.item()

        return hook

    handles = [
        layer.register_forward_hook(adding_to(index), with_kwargs=True)
        for index, layer in enumerate(layers)
    ]
    try:
        for block_T in blocks_NT.to(model.device):
            model(input_ids=block_T[None], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return [float(value) for value in 1.0 - cosine_L / len(blocks_NT)]


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
