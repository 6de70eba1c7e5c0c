"""What a run in MLflow holds already: its params, tags, finals, and how much of its curves.

Remembered by the process that writes the run, and by the tag ``trsp.written`` for the one after it.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlflow.entities import Run

WRITTEN = "trsp.written"
HEARTBEAT = "trsp.alive"  # the tag by which a grid's driver says that it lives


@dataclass
class WrittenRun:
    """What a run holds already, as far as this process knows.

    ``metrics``: the last value of each, also where ``finals`` does not trust that it is whole.
    ``points``: how many of each curve, by name. ``artifacts``: the version of each, by path, and
    ``artifacts_at`` when this process wrote it, in seconds of the monotonic clock. ``ours``: the
    run was made by this process.
    """

    run_id: str
    started_ms: int
    status: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    finals: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    artifacts_at: dict[str, float] = field(default_factory=dict)
    ours: bool = False

    @classmethod
    def of(cls, run: Run) -> "WrittenRun":
        """Return what a run holds that another process wrote.

        Its finals are trusted only if that process lived to say that they are all there.
        """
        memory = json.loads(run.data.tags.get(WRITTEN) or "{}")
        points = memory.get("points", {})
        finals = {name: value for name, value in run.data.metrics.items() if name not in points}
        if memory.get("finals") != _names_digest(finals):
            finals = {}
        return cls(
            run.info.run_id,
            run.info.start_time,
            run.info.status,
            params=dict(run.data.params),
            tags=dict(run.data.tags),
            finals=finals,
            metrics=dict(run.data.metrics),
            points=points,
            artifacts=memory.get("artifacts", {}),
        )

    def is_as_in(self, run: Run) -> bool:
        """Whether this process would write the run on from where MLflow has it."""
        return (
            (run.info.run_id, run.info.status) == (self.run_id, self.status)
            and _lasting(run.data.tags) == _lasting(self.tags)
            and self.params.items() <= run.data.params.items()
            and self.finals.items() <= run.data.metrics.items()
        )

    def memory(self) -> str:
        """Return the tag that ``of`` reads in a later process."""
        return json.dumps(
            {
                "points": self.points,
                "artifacts": self.artifacts,
                "finals": _names_digest(self.finals),
            }
        )


def _lasting(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that say something of the run, not of its driver."""
    return {name: value for name, value in tags.items() if name != HEARTBEAT}


def _names_digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]
