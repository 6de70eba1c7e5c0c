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
    hidden: set[str] = set()
    behind: dict[str, StageKind] = {}
    passed_to: dict[str, StageKind] = {}
    for keys in by_process({key: each for key, each in running.items() if each.chain}):
        hidden |= {*keys[1:]}
        begun = [key for key in keys if running[key].began is not None]
        computing = keys.index(begun[-1]) if begun else 0
        for before, key in zip(keys[computing:], keys[computing + 1 :], strict=False):
            behind[key] = running[before].spec.kind
        for key in keys[:computing]:
            passed_to[key] = running[keys[computing]].spec.kind
    return Turns(frozenset(hidden), behind, passed_to)


def by_process(members: Mapping[str, Member]) -> list[list[str]]:
    """Return the keys of stages by the process that they share, each in the order given.

    What is asked or said of the claims of one process is asked and said in this order: a commit of
    the first may be one of the next as well.
    """
    processes: dict[str, list[str]] = {}
    for key, member in members.items():
        processes.setdefault(member.chain or key, []).append(key)
    return list(processes.values())
