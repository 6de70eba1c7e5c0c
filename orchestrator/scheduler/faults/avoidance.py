"""Nodes on which stages fail that do not fail elsewhere: none is started there for a while. Pure.

A node with a broken GPU, a full disk or a stale mount fails what it is given fast, and is therefore
free again first: without this, a cluster's whole grid runs into it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.layouts.capacity import Capacity, fits
from orchestrator.layouts.layout import Layout
from orchestrator.store.failures import Failure, FailureKind, Node

FORGET_S = 3600.0  # a failure says nothing of its node after so long
MANY = 2  # attempts must have failed on a node
# Failures that may be their node's doing. Others are the stage's own, or of nodes that went.
_SUSPECT = frozenset(
    {
        FailureKind.DISK_FULL,
        FailureKind.HUNG,
        FailureKind.LOST,
        FailureKind.UNKNOWN,
        FailureKind.UNREACHABLE,
    }
)


@dataclass(frozen=True)
class NodeFailure:
    """A failed attempt, which may be its node's doing."""

    node: Node
    key: str  # of the stage
    line: str  # the failure in one line
    when: float  # in seconds on the driver's clock


class Avoidance:
    """The failures of the last hour by where they were, and what follows from them."""

    def __init__(self) -> None:
        self._failures: tuple[NodeFailure, ...] = ()

    def see(self, key: str, failure: Failure, now: float) -> None:
        """Take up that an attempt at a stage has failed."""
        if failure.node and failure.kind in _SUSPECT:
            self._failures += (NodeFailure(failure.node, key, failure.line, now),)

    def nodes(self, now: float) -> dict[str, str]:
        """Return the nodes to be avoided now, by id: a line for people that names it, and why."""
        self._failures = tuple(each for each in self._failures if now - each.when < FORGET_S)
        return avoided(self._failures)

    def forgive(self) -> None:
        """Forget all: what is avoided is needed."""
        self._failures = ()


def avoided(failures: Iterable[NodeFailure]) -> dict[str, str]:
    """Return the nodes on which MANY attempts failed of stages that failed nowhere else.

    A stage that fails on two nodes is at fault itself, and speaks against neither.
    """
    failed = tuple(failures)
    where: dict[str, set[str]] = {}
    for each in failed:
        where.setdefault(each.key, set()).add(each.node.id)
    by_node: dict[str, list[NodeFailure]] = {}
    for each in failed:
        if len(where[each.key]) == 1:
            by_node.setdefault(each.node.id, []).append(each)
    return {id_: _line(there) for id_, there in by_node.items() if len(there) >= MANY}


def is_missed(layouts: Iterable[Layout], there: Capacity, largest: Capacity) -> bool:
    """Whether a stage does not fit what is ``there``, but the ``largest`` that there was."""
    return any(not fits(there, each) and fits(largest, each) for each in layouts)


def _line(failures: list[NodeFailure]) -> str:
    stages = len({each.key for each in failures})
    what = f"{stages} stages" if stages > 1 else f"{len(failures)} attempts at a stage"
    last = failures[-1]
    return f"node {last.node.address} is avoided: {what} failed there, the last of {last.line}"
