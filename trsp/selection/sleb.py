"""Selectors that compare losses with layers bypassed."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from trsp.architecture.decoders import decoder_layers
from trsp.config import SlebSettings
from trsp.losses import lm_loss
from trsp.records import RoundRecord
from trsp.selection.order import candidates
from trsp.surgery import bypassed


@torch.no_grad()
def calibration_nll(model: Any, blocks_NT: Tensor, removed: Sequence[int]) -> float:
    """Mean NLL a predicted token over the blocks, in nats, with ``removed`` bypassed."""
    with bypassed(model, removed):
        losses = [
            lm_loss(model(input_ids=block_T[None], use_cache=False).logits, block_T[None]).item()
            for block_T in blocks_NT.to(model.device)
        ]
    return sum(losses) / len(losses)


def rank_by_bypass(
    model: Any,
    blocks_NT: Tensor,
    settings: SlebSettings,
    *,
    depth: int,
    done: Sequence[RoundRecord] = (),
    beat: Callable[[], None] = lambda: None,
) -> Iterator[RoundRecord]:
    """SLEB: each round remove the candidate whose bypass, on top of those removed before, hurts the NLL least.

    ``beat`` is called after every candidate.
    """
    removed = [record.layer for record in done]
    for number in range(len(removed), depth):
        started = time.monotonic()
        allowed = candidates(
            len(decoder_layers(model)), removed, settings.protect_first, settings.protect_last
        )
        nll = {}
        for layer in allowed:
            nll[layer] = calibration_nll(model, blocks_NT, [*removed, layer])
            beat()
        removed.append(min(nll, key=lambda layer: (nll[layer], layer)))
        yield RoundRecord(
            round=number, layer=removed[-1], scores=nll, seconds=time.monotonic() - started
        )
