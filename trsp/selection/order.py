"""What selectors share: which layers may go, and scores written as rounds. No models, no torch."""

from collections.abc import Mapping, Sequence

from trsp.records import RoundRecord


def candidates(
    layers: int, removed: Sequence[int], protect_first: int, protect_last: int
) -> list[int]:
    """Return the indices of the layers that may still be removed, in order of depth."""
    gone = set(removed)
    return [layer for layer in range(protect_first, layers - protect_last) if layer not in gone]


def one_shot(scores: Mapping[int, float], depth: int, seconds: float = 0.0) -> list[RoundRecord]:
    """Return all rounds of a selector that scores every layer once, in ``seconds`` altogether.

    The lowest score goes first; of equal ones the shallower layer.
    """
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
