"""Bundles put on nodes as an autoscaler counts them. Pure.

A *bundle* is what one process takes, by Ray's names; a *group* is those of one stage.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf

Bundle = Mapping[str, float]
Group = Sequence[Bundle]
_ROUNDING = 1e-6


def that_fit(groups: Iterable[Group], nodes: Iterable[Bundle]) -> list[Group]:
    """Return those groups, of which the first come first, that fit on the nodes at once."""
    free = [dict(node) for node in nodes]
    kept: list[Group] = []
    too_large: list[Group] = []  # what did not fit does not fit later
    for group in groups:
        if group in too_large:
            continue
        placed = _place(group, free)
        if placed is None:
            too_large.append(group)
        else:
            kept.append(group)
    return kept


def beside(nodes: Iterable[Bundle], held: Iterable[Bundle]) -> list[dict[str, float]]:
    """Return what is left of nodes beside processes that hold so much, on whichever they fit.

    Nodes of which nothing is left are left out; and so is what fits on none.
    """
    free = [dict(node) for node in nodes]
    for bundle in held:
        _place([bundle], free)
    return [node for node in free if any(amount > _ROUNDING for amount in node.values())]


def _place(group: Group, free: list[dict[str, float]]) -> list[int] | None:
    """Take all of a group's bundles off nodes and return off which; None where not all fit."""
    placed: list[int] = []
    for bundle in group:
        index = next((i for i, node in enumerate(free) if _fits(node, bundle)), None)
        if index is None:
            for taken, back in zip(placed, group, strict=False):
                _take(free[taken], back, -1)
            return None
        _take(free[index], bundle, 1)
        placed.append(index)
    return placed


def _fits(node: Bundle, bundle: Bundle) -> bool:
    """Whether there is room; a memory that no one knows is enough."""
    return all(
        node.get(name, inf if name == "memory" else 0) + _ROUNDING >= amount
        for name, amount in bundle.items()
    )


def _take(node: dict[str, float], bundle: Bundle, sign: int) -> None:
    for name, amount in bundle.items():
        if name in node:
            node[name] -= sign * amount
