"""Where a simulation begins: what is done of a grid already, and orders that nobody knows yet."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Begun:
    """What is done of a grid already: keys of stages, and published layers by rankings' keys."""

    done: frozenset[str] = frozenset()
    orders: Mapping[str, Sequence[int]] = field(default_factory=dict)


NOTHING = Begun()


def whole_order(published: Sequence[int], name: str, layers: int) -> list[int]:
    """Return all layers: those that are published, and then the others in an order by the name."""
    made_up = random.Random(name).sample(range(layers), layers)
    return [*published, *(layer for layer in made_up if layer not in published)]
