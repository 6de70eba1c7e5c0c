"""Where the seconds of one attempt at a stage went, as it stands beside the stage's result.

Part of no key, and never a reason for two results to differ. Pure data.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError


class Phase(StrEnum):
    """What a stage's seconds go to, in the order in which it comes to them; each counts once."""

    START = "start"  # from its being asked for to its first line of code: its place, its process
    IMPORTS = "imports"  # of libraries
    LOAD = "load"  # of the model and the texts that it reads
    COMPUTE = "compute"  # all else
    SAVE = "save"  # of weights, to a folder of this machine
    COMMIT = "commit"  # to the store, uploads included, up to its log's entry


@dataclass(frozen=True)
class StageTimings:
    """The times of the attempt that made a result: seconds since the epoch, and per phase.

    Of a ranking each round has them: ``ended`` is when it was published, and ``seconds`` hold all
    of the attempt up to then. ``cpus`` and ``gpus`` are those of all ranks together.
    """

    asked: float  # when the driver asked for it, or a chain came to it
    began: float  # when its own code began, on rank 0
    ended: float
    seconds: Mapping[str, float] = field(default_factory=dict)  # by phase
    attempt: str = ""
    node: str = ""  # an address or host name
    process: int = 0  # its number on the node
    ranks: int = 1
    cpus: float = 1.0
    gpus: float = 0.0

    @property
    def worked_s(self) -> float:
        """The seconds in which it held its place: all phases but the start."""
        return sum(s for phase, s in self.seconds.items() if phase != Phase.START)

    def commit_over(self) -> "StageTimings":
        """Return the times of an attempt that has done nothing since but commit, up to now."""
        now = time.time()
        committed = self.seconds.get(Phase.COMMIT, 0.0) + max(0.0, now - self.ended)
        return replace(self, ended=now, seconds={**self.seconds, Phase.COMMIT: committed})

    def to_json(self) -> dict[str, Any]:
        """Return the times as plain values, rounded to milliseconds."""
        dumped: dict[str, Any] = _TIMINGS.dump_python(self, mode="json")
        dumped["seconds"] = {phase: round(s, 3) for phase, s in self.seconds.items()}
        return dumped | {name: round(dumped[name], 3) for name in ("asked", "began", "ended")}


_TIMINGS = TypeAdapter(StageTimings)


def timings_in(stored: Mapping[str, Any]) -> StageTimings | None:
    """Return the times in a stored result or round; None where there are none that can be read.

    Results from before they were kept have none.
    """
    try:
        return _TIMINGS.validate_python(stored["timings"])
    except (KeyError, ValidationError):
        return None
