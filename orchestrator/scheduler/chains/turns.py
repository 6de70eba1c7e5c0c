"""Whose turn it is among the stages that follow one another in one process. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator.stages.stage_specs import StageKind, StageSpec


class Member(Protocol):
    """An attempt at a stage, as far as turns go."""

    @property
    def spec(self) -> StageSpec:
        """The stage."""

    @property
    def chain(self) -> str:
        """What is common to the stages of one process; empty for a stage that is alone there."""

    @property
    def began(self) -> float | None:
        """When it was first seen to compute; None while it waits."""


@dataclass(frozen=True)
class Turns:
    """How the stages that share a process with others stand, by key.

    ``hidden``: all but one of each process, by which the process is counted. ``behind``: of those
    whose turn is to come, the kind of the stage before. ``passed_to``: of those that have computed
    and are not committed, the kind of the stage that computes since.
    """

    hidden: frozenset[str]
    behind: Mapping[str, StageKind]
    passed_to: Mapping[str, StageKind]


def turns_of(running: Mapping[str, Member]) -> Turns:
    """Return how the stages stand that run or wait for their turn, given in their order."""
    chains: dict[str, list[str]] = {}
    for key, member in running.items():
        if member.chain:
            chains.setdefault(member.chain, []).append(key)
    hidden: set[str] = set()
    behind: dict[str, StageKind] = {}
    passed_to: dict[str, StageKind] = {}
    for keys in chains.values():
        hidden |= {*keys[1:]}
        begun = [key for key in keys if running[key].began is not None]
        computing = keys.index(begun[-1]) if begun else 0
        for before, key in zip(keys[computing:], keys[computing + 1 :], strict=False):
            behind[key] = running[before].spec.kind
        for key in keys[:computing]:
            passed_to[key] = running[keys[computing]].spec.kind
    return Turns(frozenset(hidden), behind, passed_to)
