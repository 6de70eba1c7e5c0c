"""Orders that look at nothing: the controls. No torch."""

import random

from trsp.config import RandomSettings, ReverseSettings
from trsp.records import RoundRecord
from trsp.selection.order import candidates, one_shot


def rank_at_random(
    layers: int, settings: RandomSettings, *, seed: int, depth: int
) -> list[RoundRecord]:
    """Return the layers shuffled by ``seed``; the score of a layer is its place in the shuffle."""
    allowed = candidates(layers, (), settings.protect_first, settings.protect_last)
    random.Random(seed).shuffle(allowed)
    return one_shot({layer: float(place) for place, layer in enumerate(allowed)}, depth)


def rank_in_reverse(layers: int, settings: ReverseSettings, *, depth: int) -> list[RoundRecord]:
    """Return the layers deepest first, without the last ``protect_last``."""
    allowed = candidates(layers, (), settings.protect_first, settings.protect_last)
    return one_shot({layer: float(-layer) for layer in allowed}, depth)
