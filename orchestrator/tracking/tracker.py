"""MLflow as a projection of the store: ``project(view)`` makes MLflow equal to a grid's view.

Nothing is ever read back from MLflow to decide anything, except who holds an alias: an empty one is
filled again from a finished grid's view. A tracking server that goes away never stops a grid: the
tracker is ``behind`` for a while, and says so.
"""

import contextlib
import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.redact import redact
from orchestrator.tracking.aliases import move_alias
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
from orchestrator.tracking.content.describe import DescribedRun, closed, described_runs
from orchestrator.tracking.content.notes import EXPERIMENT_NOTE
from orchestrator.tracking.runs import OPEN, RunWriter, kill, search_runs
from orchestrator.views.aliases import AliasClaim, AliasDecision
from orchestrator.views.grid_view import GridView, Status
from trsp.errors import TrackingError

__all__ = ["MlflowTracker", "check"]

log = logging.getLogger(__name__)

FINISH_ATTEMPTS = 3
FINISH_PAUSE_S = 2.0
HEARTBEAT = "trsp.alive"  # the tag by which a grid's driver says that it lives
HEARTBEAT_S = 60.0
SILENT_S = 15 * 60.0  # a driver not heard of for so long is dead


@dataclass
class _GridProgress:
    """What this process has written of one grid.

    ``sources``: what each run was last made from, by its kind and key.
    """

    runs: RunWriter
    sources: dict[tuple[str, str], tuple[object, ...]] = field(default_factory=dict)
    shared_view: str = ""
    heartbeat_at: float = float("-inf")  # seconds of the monotonic clock


class MlflowTracker:
    """Keeps one experiment of one MLflow equal to the views of grids.

    ``facts``: where the job comes from (``submission_id``, ``git_sha``, ...), set as tags of every
    run; no secrets. ``retry_s``: how long a failed server is left alone, so that a caller who
    projects every second is not held up. ``call_limit_s``: after how many seconds ``project``
    leaves the rest for its next call. Raises TrackingError when ``uri`` does not answer.
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
        self._grids: dict[str, _GridProgress] = {}
        self._client = connect(uri)
        with self._errors(f"cannot open the experiment {experiment!r}"):
            self.experiment_id = self._experiment(experiment)

    def project(self, view: GridView) -> None:
        """Make MLflow equal to ``view``.

        Never raises for MLflow's sake: ``behind`` says that something is missing.
        """
        if time.monotonic() >= self._retry_at:
            self._try(view, self._call_limit_s)

    def finish(self, view: GridView) -> None:
        """Make the last projection, which closes every run of the grid.

        Raises TrackingError if MLflow stays behind after three attempts.
        """
        for attempt in range(FINISH_ATTEMPTS):
            time.sleep(FINISH_PAUSE_S if attempt else 0)
            if self._try(closed(view), limit_s=float("inf")):
                return
        raise TrackingError(
            f"MLflow at {redact(self._uri)} misses results of grid {view.name!r}; they are safe in "
            "the store: run the same grid file again once the server answers, and they will be "
            "written"
        )

    def sweep(self, alive_grids: Collection[str] = (), silent_s: float = SILENT_S) -> int:
        """Close what killed drivers left open: runs of grids not heard of for ``silent_s`` seconds.

        Return how many. A grid's driver says every minute that it lives; grids of ``alive_grids``
        (keys) live without that. A rerun of a swept grid opens its runs again.
        """
        with self._errors("cannot close the runs of killed jobs"):
            open_runs = self._open_runs()
            grids = {run.data.tags["trsp.grid"] for run in open_runs} - set(alive_grids)
            dead = {grid for grid in grids if time.time() - self._last_heartbeat(grid) > silent_s}
            orphans = [run for run in open_runs if run.data.tags["trsp.grid"] in dead]
            for run in orphans:
                kill(self._client, run.info.run_id, "its job was killed")
            return len(orphans)

    def move_alias(
        self, model_name: str, cell_key: str, claim: AliasClaim, outside: Collection[str] = ()
    ) -> AliasDecision:
        """Give a registered model's alias to the version of a cell, if it may (``move_alias``)."""
        with self._errors(f"cannot set the alias {claim.alias!r}"):
            return move_alias(self._client, model_name, cell_key, claim, outside)

    def leaderboard_url(self, ui_base: str, grid_key: str) -> str:
        """Return a link that opens the cells of the grid, best first.

        It is the same from a job's start to its end.
        """
        return leaderboard.leaderboard_url(ui_base, self.experiment_id, grid_key)

    def _try(self, view: GridView, limit_s: float) -> bool:
        """Write what is new for at most ``limit_s``; return whether MLflow is equal to the view."""
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
        """Write what is new, run by run; return whether all of it was written by the deadline."""
        progress = self._progress(view.key)
        described = list(described_runs(view))
        for run in described:
            unchanged = progress.sources.get((run.kind, run.key)) == run.sources
            if unchanged or not _has_begun(run, progress.runs):
                continue
            progress.runs.write(run.state())
            progress.sources[run.kind, run.key] = run.sources
            if time.monotonic() > deadline:
                return False
        progress.runs.drop_others({(run.kind, run.key) for run in described})
        self._share(view, progress)
        self._beat(view.key, progress)
        return True

    def _progress(self, key: str) -> _GridProgress:
        """What was written of a grid; on first sight, that is what earlier processes left.

        Runs of this grid are taken up then, and those of dead grids are closed.
        """
        if key not in self._grids:
            self.sweep(alive_grids=[key])
            runs = RunWriter(self._client, self.experiment_id, key, self._facts)
            self._grids[key] = _GridProgress(runs)
        return self._grids[key]

    def _search(self, query: str) -> Iterator[Any]:
        return search_runs(self._client, self.experiment_id, query)

    def _open_runs(self) -> list[Any]:
        """Every run of any grid that is not closed."""
        open_runs: list[Any] = []
        for status in OPEN:
            open_runs += self._search(f"attributes.status = '{status}'")
        return [run for run in open_runs if "trsp.grid" in run.data.tags]

    def _beat(self, grid: str, progress: _GridProgress) -> None:
        """Say once a minute that the grid's driver lives."""
        if time.monotonic() - progress.heartbeat_at > HEARTBEAT_S:
            progress.runs.tag("grid", grid, HEARTBEAT, f"{time.time():.0f}")
            progress.heartbeat_at = time.monotonic()

    def _last_heartbeat(self, grid: str) -> float:
        """When a grid's driver was last alive, in seconds since the epoch; 0 if it never said."""
        runs = self._search(f"tags.`trsp.kind` = 'grid' AND tags.`trsp.grid` = '{grid}'")
        return max((float(run.data.tags.get(HEARTBEAT, 0)) for run in runs), default=0.0)

    def _share(self, view: GridView, progress: _GridProgress) -> None:
        """Give the leaderboard's link what it opens."""
        shared_view = leaderboard.shared_view(view)
        if shared_view != progress.shared_view:
            tag = leaderboard.share_tag(view.key)
            self._client.set_experiment_tag(self.experiment_id, tag, shared_view)
            progress.shared_view = shared_view

    def _experiment(self, name: str) -> str:
        """The id of the experiment, made if need be. Raises TrackingError for a deleted one."""
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            tags = {"mlflow.note.content": EXPERIMENT_NOTE}
            return str(self._client.create_experiment(name, artifact_root(self._uri), tags))
        if experiment.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment {name!r} was deleted: restore it, "
                "or give tracking.experiment another name"
            )
        return str(experiment.experiment_id)

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn what MLflow raises into a TrackingError that says ``what`` failed, and where."""
        try:
            with patience(WRITE_TIMEOUT_S, retries=1):
                yield
        except TrackingError:
            raise
        except FAILURES as error:
            raise TrackingError(f"{what} at {redact(self._uri)}: {one_line(error)}") from None


def _has_begun(run: DescribedRun, runs: RunWriter) -> bool:
    """Whether a run is to be made or written now.

    A run is made when its work begins; what never began is recorded when the grid ends.
    """
    if run.kind == "grid" or runs.exists(run.kind, run.key):
        return True
    return run.status is not Status.WAITING


def _fact_tags(facts: Mapping[str, str]) -> dict[str, str]:
    """The facts as tags; the commit also as MLflow's own, by default that of TRSP_GIT_SHA."""
    tags = {f"trsp.{name}": redact(value) for name, value in facts.items() if value}
    sha = facts.get("git_sha") or os.environ.get("TRSP_GIT_SHA", "")
    if sha:
        tags |= {"trsp.git_sha": sha, "mlflow.source.git.commit": sha}
    return tags
