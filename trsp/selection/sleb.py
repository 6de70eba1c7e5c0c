"""SLEB: the selector that compares calibration losses with layers bypassed, by rounds."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

from torch import Tensor

from trsp.architecture.decoders import decoder_layers
from trsp.batch_sizes import rows_at_once
from trsp.config import SlebSettings
from trsp.progress_lines import tick
from trsp.records import RoundRecord
from trsp.selection.bypass_loss import bypass_losses
from trsp.selection.order import candidates, require_finite


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
    (docs/method.md, section 4). ``beat`` is called after every loss of a candidate.
    TrainingDivergedError: an NLL is not finite.
    """
    removed = [record.layer for record in done]
    layers = len(decoder_layers(model))
    passes = -(-len(blocks_NT) // rows_at_once(model, blocks_NT.shape[1]))
    for number in range(len(removed), depth):
        started = time.monotonic()
        left = candidates(layers, removed, settings.protect_first, settings.protect_last)
        heard = _hearing(beat, passes * len(left), f"round {number + 1} of {depth}")
        nll = bypass_losses(model, blocks_NT, left, removed, heard)
        require_finite(nll)
        removed.append(min(nll, key=lambda layer: (nll[layer], layer)))
        seconds = time.monotonic() - started
        yield RoundRecord(round=number, layer=removed[-1], scores=nll, seconds=seconds)


def _hearing(beat: Callable[[], None], losses: int, within: str) -> Callable[[], None]:
    """Return what is to be called after each of a round's ``losses``."""
    computed = count(1)

    def heard() -> None:
        beat()
        tick(next(computed), losses, "pass", within=within)

    return heard
