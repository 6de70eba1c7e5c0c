"""What selectors share: which layers may go, and scores written as rounds. No models, no torch."""

import math
from collections.abc import Mapping, Sequence

from trsp.errors import TrainingDivergedError
from trsp.records import RoundRecord


def candidates(
    layers: int, removed: Sequence[int], protect_first: int, protect_last: int
) -> list[int]:
    """Return the indices of the layers that may still be removed, in order of depth."""
    gone = set(removed)
    return [layer for layer in range(protect_first, layers - protect_last) if layer not in gone]


def require_finite(scores: Mapping[int, float]) -> None:
    """Raise TrainingDivergedError where the score of a layer is NaN or infinite.

    No order can be made of such scores, and none is to be published.
    """
    ruined = {layer: score for layer, score in scores.items() if not math.isfinite(score)}
    if ruined:
        layer, score = next(iter(ruined.items()))
        raise TrainingDivergedError(
            f"the scores of {len(ruined)} of {len(scores)} layers are not finite: that of layer "
            f"{layer} is {score}; look for NaN in the model's weights, or compute in fp32"
        )


def one_shot(scores: Mapping[int, float], depth: int, seconds: float = 0.0) -> list[RoundRecord]:
    """Return all rounds of a selector that scores every layer once, in ``seconds`` altogether.

    The lowest score goes first; of equal ones the shallower layer. TrainingDivergedError: a score
    is not finite.
    """
    require_finite(scores)
    order = sorted(scores, key=lambda layer: (scores[layer], layer))
    return [
        RoundRecord(
            round=number,
            layer=layer,
            scores={left: scores[left] for left in order[number:]},
            seconds=seconds if number == 0 else 0.0,
        )
        for number, layer in enumerate(order[:depth])
    ]
