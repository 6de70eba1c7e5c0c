"""Selectors that read activations of the unchanged model in one pass."""

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
    """ShortGPT eq. 1: BI_i = 1 - mean over all N * T tokens of cos(input of layer i, its output); one value a layer."""
    layers = decoder_layers(model)
    cosine_L = torch.zeros(len(layers), dtype=torch.float64)

    def add(index: int, args: Any, kwargs: Any, output: Any) -> None:
        x, y = layer_input(args, kwargs), layer_hidden(output)
        cosine_L[index] += functional.cosine_similarity(x.float(), y.float(), dim=-1).mean().item()

    def hook(index: int) -> Any:
        def measure(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            add(index, args, kwargs, output)

        return measure

    handles = [
        layer.register_forward_hook(hook(i), with_kwargs=True) for i, layer in enumerate(layers)
    ]
    try:
        for block_T in blocks_NT.to(model.device):
            model(input_ids=block_T[None], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return [float(value) for value in 1.0 - cosine_L / len(blocks_NT)]


def rank_by_influence(
    model: Any, blocks_NT: Tensor, settings: BlockInfluenceSettings, *, depth: int
) -> list[RoundRecord]:
    """ShortGPT's order: lowest block influence first."""
    started = time.monotonic()
    influence = block_influence(model, blocks_NT)
    allowed = candidates(len(influence), (), settings.protect_first, settings.protect_last)
    return one_shot(
        {layer: influence[layer] for layer in allowed}, depth, time.monotonic() - started
    )
