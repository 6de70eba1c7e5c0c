"""What a run in MLflow holds already: its params, tags, finals, and how much of its curves.

Remembered by the process that writes the run, and by the tag ``trsp.written`` for the one after it.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlflow.entities import Run

WRITTEN = "trsp.written"


@dataclass
class WrittenRun:
    """What a run holds already, as far as this process knows.

    ``points``: how many of each curve, by name. ``artifacts``: the version of each, by path.
    """

    run_id: str
    started_ms: int
    status: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    finals: dict[str, float] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)

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
            points=points,
            artifacts=memory.get("artifacts", {}),
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


def _names_digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]
