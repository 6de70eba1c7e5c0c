"""MLflow as a projection of the store: ``project(view)`` makes MLflow equal to a grid's view, as often as one likes.

Nothing is ever read back from it to decide anything: an empty MLflow is filled again from a finished grid's view.
A tracking server that goes away never stops a grid: the tracker is ``behind`` for a while, and says so.
"""

import contextlib
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.tracking.connection import (
    FAILURES,
    WRITE_TIMEOUT_S,
    artifact_root,
    check,
    connect,
    one_line,
    patience,
)
from orchestrator.tracking.content import leaderboard
from orchestrator.tracking.content.describe import Wanted, closed, wanted
from orchestrator.tracking.content.notes import EXPERIMENT_NOTE
from orchestrator.tracking.content.redact import redact
from orchestrator.tracking.models import registered_name, versions
from orchestrator.tracking.runs import OPEN, RunWriter, kill, search_runs
from orchestrator.views.grid_view import GridView, Status
from trsp.errors import TrackingError

__all__ = ["MlflowTracker", "check"]

log = logging.getLogger(__name__)

FINISH_ATTEMPTS = 3
FINISH_PAUSE_S = 2.0
HEARTBEAT = "trsp.alive"
HEARTBEAT_S = 60.0
SILENT_S = 15 * 60.0


@dataclass
class _Seen:
    """What this process has written of one grid."""

    runs: RunWriter
    parts: dict[tuple[str, str], tuple[object, ...]] = field(default_factory=dict)
    shared_view: str = ""
    heard_at: float = float("-inf")


class MlflowTracker:
    """``facts``: where the job comes from (``submission_id``, ``git_sha``, ...), set as tags of every run; no secrets.

    Raises TrackingError when ``uri`` does not answer. ``retry_s``: how long a failed server is left alone, so that a
    caller who projects every second is not held up by timeouts; ``call_limit_s``: after how long ``project`` leaves
    the rest for its next call.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        *,
        facts: Mapping[str, str] | None = None,
        retry_s: float = 10.0,
        call_limit_s: float = 10.0,
    ) -> None:
        self.behind = False
        self._uri = uri
        self._retry_s = retry_s
        self._call_limit_s = call_limit_s
        self._facts = _fact_tags(facts or {})
        self._retry_at = 0.0
        self._grids: dict[str, _Seen] = {}
        self._client = connect(uri)
        with self._errors(f"cannot open the experiment {experiment!r}"):
            self.experiment_id = self._experiment(experiment)

    def project(self, view: GridView) -> None:
        """Makes MLflow equal to ``view``. Never raises for MLflow's sake: ``behind`` says that something is missing."""
        if time.monotonic() >= self._retry_at:
            self._try(view, self._call_limit_s)

    def finish(self, view: GridView) -> None:
        """The last projection: every run of the grid is closed. Raises TrackingError if MLflow stays behind."""
        for attempt in range(FINISH_ATTEMPTS):
            time.sleep(FINISH_PAUSE_S if attempt else 0)
            if self._try(closed(view), limit_s=float("inf")):
                return
        raise TrackingError(
            f"MLflow at {redact(self._uri)} misses results of grid {view.name!r}; they are safe in the store: "
            "run the same grid file again once the server answers, and they will be written"
        )

    def sweep(self, alive_grids: Collection[str] = (), silent_s: float = SILENT_S) -> int:
        """Closes what killed drivers left open: runs of grids not heard of for so long. Returns how many.

        A grid's driver says every minute that it lives; a rerun of a swept grid opens its runs again.
        """
        with self._errors("cannot close the runs of killed jobs"):
            left = [
                run
                for status in OPEN
                for run in self._runs(f"attributes.status = '{status}'")
                if "trsp.grid" in run.data.tags
            ]
            grids = {run.data.tags["trsp.grid"] for run in left} - set(alive_grids)
            dead = {grid for grid in grids if time.time() - self._heard_of(grid) > silent_s}
            gone = [run.info.run_id for run in left if run.data.tags["trsp.grid"] in dead]
            for run_id in gone:
                kill(self._client, run_id, "its job was killed")
            return len(gone)

    def set_alias(self, model_name: str, alias: str, cell_key: str) -> None:
        """Points the alias at the newest version made for this cell. Raises TrackingError when there is none."""
        name = registered_name(model_name)
        with self._errors(f"cannot set the alias {alias!r}"):
            found = versions(self._client, name, cell_key)
            if not found:
                raise TrackingError(
                    f"registered model {name!r} has no version of cell {cell_key}: its checkpoint is not there"
                )
            self._client.set_registered_model_alias(name, alias, found[0].version)

    def leaderboard_url(self, ui_base: str, grid_key: str) -> str:
        """A link that opens the cells of the grid, best first: the same from a job's start to its end."""
        return leaderboard.leaderboard_url(ui_base, self.experiment_id, grid_key)

    # --- one attempt ---------------------------------------------------------------------------------------------------

    def _try(self, view: GridView, limit_s: float) -> bool:
        """Whether MLflow is now equal to the view."""
        try:
            with patience(WRITE_TIMEOUT_S, retries=1):
                self.behind = not self._write(view, time.monotonic() + limit_s)
        except FAILURES as error:
            self.behind = True
            self._retry_at = time.monotonic() + self._retry_s
            log.warning(
                "MLflow at %s is behind, results are safe in the store: %s",
                redact(self._uri),
                one_line(error),
            )
        return not self.behind

    def _write(self, view: GridView, deadline: float) -> bool:
        seen = self._grid(view.key)
        runs = list(wanted(view))
        for part in runs:
            if seen.parts.get((part.kind, part.key)) == part.seen or not _begun(part, seen.runs):
                continue
            seen.runs.write(part.state())
            seen.parts[part.kind, part.key] = part.seen
            if time.monotonic() > deadline:
                return False
        seen.runs.drop_others({(part.kind, part.key) for part in runs})
        self._share(view, seen)
        if time.monotonic() - seen.heard_at > HEARTBEAT_S:
            seen.runs.tag("grid", view.key, HEARTBEAT, f"{time.time():.0f}")
            seen.heard_at = time.monotonic()
        return True

    def _grid(self, key: str) -> _Seen:
        """On first sight, the runs that earlier processes left: those of this grid are taken up, those of dead ones closed."""
        if key not in self._grids:
            self.sweep(alive_grids=[key])
            self._grids[key] = _Seen(RunWriter(self._client, self.experiment_id, key, self._facts))
        return self._grids[key]

    def _runs(self, query: str) -> Iterator[Any]:
        return search_runs(self._client, self.experiment_id, query)

    def _heard_of(self, grid: str) -> float:
        """When a grid's driver was last alive, in seconds since the epoch; 0 if it never said."""
        parents = self._runs(f"tags.`trsp.kind` = 'grid' AND tags.`trsp.grid` = '{grid}'")
        return max((float(run.data.tags.get(HEARTBEAT, 0)) for run in parents), default=0.0)

    def _share(self, view: GridView, seen: _Seen) -> None:
        state = leaderboard.shared_view(view)
        if state != seen.shared_view:
            self._client.set_experiment_tag(
                self.experiment_id, leaderboard.share_tag(view.key), state
            )
            seen.shared_view = state

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            return str(
                self._client.create_experiment(
                    name, artifact_root(self._uri), {"mlflow.note.content": EXPERIMENT_NOTE}
                )
            )
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment {name!r} was deleted: restore it, or give tracking.experiment another name"
            )
        return str(found.experiment_id)

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            with patience(WRITE_TIMEOUT_S, retries=1):
                yield
        except TrackingError:
            raise
        except FAILURES as error:
            raise TrackingError(f"{what} at {redact(self._uri)}: {one_line(error)}") from None


def _begun(part: Wanted, runs: RunWriter) -> bool:
    """A run is made when its work begins; what never began is recorded when the grid ends."""
    return (
        part.kind == "grid" or part.status is not Status.WAITING or runs.exists(part.kind, part.key)
    )


def _fact_tags(facts: Mapping[str, str]) -> dict[str, str]:
    sha = facts.get("git_sha") or os.environ.get("TRSP_GIT_SHA", "")
    tags = {f"trsp.{name}": redact(value) for name, value in facts.items() if value}
    return tags | ({"trsp.git_sha": sha, "mlflow.source.git.commit": sha} if sha else {})
