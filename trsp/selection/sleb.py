"""SLEB: the selector that compares calibration losses with layers bypassed, by rounds."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from trsp.architecture.decoders import decoder_layers
from trsp.batch_sizes import rows_at_once
from trsp.config import SlebSettings
from trsp.losses import lm_loss
from trsp.progress_lines import tick
from trsp.records import RoundRecord
from trsp.selection.order import candidates, require_finite
from trsp.surgery import bypassed


@torch.no_grad()
def calibration_nll(model: Any, blocks_NT: Tensor, removed: Sequence[int]) -> float:
    """Return the mean NLL of all predicted tokens, in nats per token, with ``removed`` bypassed."""
    batches = blocks_NT.to(model.device).split(rows_at_once(model, blocks_NT.shape[1]))
    with bypassed(model, removed):
        sums = [
            len(blocks_BT) * lm_loss(model(input_ids=blocks_BT, use_cache=False).logits, blocks_BT)
            for blocks_BT in batches
        ]
    return torch.stack(sums).sum(dtype=torch.float64).item() / len(blocks_NT)


def rank_by_sleb(
    model: Any,
    blocks_NT: Tensor,
    settings: SlebSettings,
    *,
    depth: int,
    done: Sequence[RoundRecord] = (),
    beat: Callable[[], None] = lambda: None,
) -> Iterator[RoundRecord]:
    """Yield rounds ``len(done)`` to ``depth - 1``: the candidate goes whose bypass hurts least.

    The score of a candidate is the calibration NLL with it bypassed on top of those removed before
    (docs/method.md, section 4). ``beat`` is called after every candidate. TrainingDivergedError:
    an NLL is not finite.
    """
    removed = [record.layer for record in done]
    layers = len(decoder_layers(model))
    for number in range(len(removed), depth):
        started = time.monotonic()
        nll = {}
        scored = candidates(layers, removed, settings.protect_first, settings.protect_last)
        for layer in scored:
            nll[layer] = calibration_nll(model, blocks_NT, [*removed, layer])
            beat()
            tick(len(nll), len(scored), "candidate", within=f"round {number + 1} of {depth}")
        require_finite(nll)
        removed.append(min(nll, key=lambda layer: (nll[layer], layer)))
        seconds = time.monotonic() - started
        yield RoundRecord(round=number, layer=removed[-1], scores=nll, seconds=seconds)
