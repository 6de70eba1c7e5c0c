"""MLflow as a projection of the store: ``project(view)`` makes MLflow equal to a grid's view.

Nothing is ever read back from MLflow to decide anything, except who holds an alias: an empty one is
filled again from a finished grid's view. A tracking server that goes away never stops a grid: the
tracker is ``behind`` for a while, and says why.

Of several drivers of one grid, one writes it, as long as it lives: two would show the same stage as
running and as waiting by turns. The others take over where it has gone, read what is there, and
write on from that. What two write nevertheless (drivers of one grid on two stores; one that was
paused in the middle of a request) does no harm, for at its end each reads once more what is there
and writes what is not as it should be.
"""

import contextlib
import math
import os
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from mlflow.exceptions import MlflowException

from orchestrator.redact import redact
from orchestrator.tracking.aliases import move_alias
from orchestrator.tracking.connection import FAILURES, artifact_root, check, connect, one_line
from orchestrator.tracking.content import leaderboard
from orchestrator.tracking.content.describe import closed
from orchestrator.tracking.content.notes import EXPERIMENT_NOTE
from orchestrator.tracking.models import EXISTS
from orchestrator.tracking.orphans import SILENT_S, WATCHED_S, Orphans
from orchestrator.tracking.projection import GridProjection
from orchestrator.views.aliases import AliasClaim, AliasDecision
from orchestrator.views.grid_view import GridView, Status
from trsp.errors import TrackingError

__all__ = ["MlflowTracker", "Turn", "check"]

FINISH_LIMIT_S = 600.0
WRITER_WAIT_S = 90.0  # longer than it takes to know that another driver has died
FINISH_ATTEMPTS = 3
FINISH_PAUSE_S = 2.0
ARTIFACTS_EVERY_S = 60.0


class Turn(Protocol):
    """Which of several drivers writes a grid into MLflow."""

    def holder(self) -> str:
        """Take the turn where it is free; return "" where it is ours now, else who has it."""

    def release(self) -> None:
        """Let another driver have the turn, if it is ours."""


class Alone:
    """The turn of a driver that knows of no other."""

    def holder(self) -> str:
        """Return "": it is always ours."""
        return ""

    def release(self) -> None:
        """Do nothing."""


class MlflowTracker:
    """Keeps one experiment of one MLflow equal to the views of grids.

    ``facts``: where the job comes from (``submission_id``, ``git_sha``, ...), set as tags of every
    run; no secrets. ``turn``: who writes; nothing is written while that is another driver.
    ``retry_s``: how long a failed server is left alone. ``call_limit_s``: after how many seconds
    ``project`` leaves the rest for its next call. ``artifacts_every_s``: between two writings of an
    artifact of a run that is not over. Raises TrackingError when ``uri`` does not answer.

    To be used by one thread at a time.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        *,
        facts: Mapping[str, str] | None = None,
        turn: Turn | None = None,
        retry_s: float = 10.0,
        call_limit_s: float = 10.0,
        artifacts_every_s: float = ARTIFACTS_EVERY_S,
    ) -> None:
        self.behind = False  # whether MLflow misses something that we were to write
        self.trouble = ""  # what failed the last time, "" where nothing did
        self.writer = ""  # the other driver that writes, "" where we do
        self._uri = uri
        self._turn = turn or Alone()
        self._retry_s, self._call_limit_s = retry_s, call_limit_s
        self._artifacts_every_s = artifacts_every_s
        self._facts = _fact_tags(facts or {})
        self._retry_at = 0.0
        self._grids: dict[str, GridProjection] = {}
        self._sweep_at = 0.0
        self._client = connect(uri)
        with self._errors(f"cannot open the experiment {experiment!r}"):
            self.experiment_id = self._experiment(experiment)
        self._orphans = Orphans(self._client, self.experiment_id)

    def project(self, view: GridView) -> None:
        """Make MLflow equal to ``view``, where it is ours to write.

        Never raises for MLflow's sake: ``behind`` says that something is missing.
        """
        if time.monotonic() >= self._retry_at:
            self._try(view, time.monotonic() + self._call_limit_s)

    def finish(self, view: GridView, limit_s: float = FINISH_LIMIT_S) -> None:
        """Make the last projection, which closes every run of the grid.

        Waits a while for another driver that writes, in case it ends or dies, unless the grid was
        stopped; then the rest is left to it, and ``writer`` says so. Raises TrackingError if MLflow
        stays behind for ``limit_s`` seconds, or fails three times.
        """
        deadline = time.monotonic() + limit_s
        last, failures = closed(view), 0
        wait_s = 0.0 if last.status is Status.KILLED else WRITER_WAIT_S
        wait_until = min(deadline, time.monotonic() + wait_s)
        self._doubt()
        while not self._try(last, deadline) or self.writer or self._may_have_twins(view.key):
            self._doubt()
            failures += bool(self.trouble)
            over = wait_until if self.writer else deadline
            if time.monotonic() + FINISH_PAUSE_S > over or failures == FINISH_ATTEMPTS:
                break
            time.sleep(FINISH_PAUSE_S)
        if self.behind:
            raise TrackingError(
                f"MLflow at {redact(self._uri)} misses results of grid {view.name!r} "
                f"({self.trouble or 'there was no time to write all of them'}); they are safe in "
                "the store: run the same grid file again once the server answers, and they will be "
                "written"
            )

    def close(self) -> None:
        """Let another driver write from now on."""
        self._turn.release()

    def sweep(
        self,
        alive_grids: Collection[str] = (),
        silent_s: float = SILENT_S,
        watched_s: float = WATCHED_S,
    ) -> int:
        """Close what killed drivers left open (``Orphans.close``); return how many runs.

        A rerun of a swept grid opens its runs again.
        """
        with self._errors("cannot close the runs of killed jobs"):
            return self._orphans.close(alive_grids, silent_s, watched_s)

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

    def _try(self, view: GridView, deadline: float) -> bool:
        """Write what is new until the deadline; return whether nothing is left for us to write."""
        self.writer = self._turn.holder()
        if self.writer:
            self._doubt()
            self.behind, self.trouble = False, ""
            return True
        try:
            self.behind = not self._projection(view.key).write(view, deadline)
            if not self.behind and time.monotonic() >= self._sweep_at:
                self.sweep(alive_grids=[view.key])
                again_s = WATCHED_S if self._orphans.watched else math.inf
                self._sweep_at = time.monotonic() + again_s
            self.trouble = ""
        except (*FAILURES, TrackingError) as error:
            self._doubt()
            self.behind, self.trouble = True, one_line(error)
            self._retry_at = time.monotonic() + self._retry_s
        return not self.behind

    def _may_have_twins(self, key: str) -> bool:
        """Whether MLflow may hold runs that another driver made of the same parts."""
        return key in self._grids and self._grids[key].may_have_twins

    def _doubt(self) -> None:
        """Trust nothing of what is remembered of MLflow: another driver, or an error, came by."""
        for projection in self._grids.values():
            projection.doubt()

    def _projection(self, key: str) -> GridProjection:
        if key not in self._grids:
            self._grids[key] = GridProjection(
                self._client, self.experiment_id, key, self._facts, self._artifacts_every_s
            )
        return self._grids[key]

    def _experiment(self, name: str) -> str:
        """The id of the experiment, made if need be. Raises TrackingError for a deleted one."""
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return self._new_experiment(name)
        if experiment.lifecycle_stage != "active":
            raise TrackingError(
                f"experiment {name!r} was deleted: restore it, "
                "or give tracking.experiment another name"
            )
        return str(experiment.experiment_id)

    def _new_experiment(self, name: str) -> str:
        """Make the experiment, unless another driver was faster; return its id."""
        tags = {"mlflow.note.content": EXPERIMENT_NOTE}
        try:
            return str(self._client.create_experiment(name, artifact_root(self._uri), tags))
        except MlflowException as error:
            if error.error_code != EXISTS:
                raise
            return self._experiment(name)

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Turn what MLflow raises into a TrackingError that says ``what`` failed, and where."""
        try:
            yield
        except TrackingError:
            raise
        except FAILURES as error:
            raise TrackingError(f"{what} at {redact(self._uri)}: {one_line(error)}") from None


def _fact_tags(facts: Mapping[str, str]) -> dict[str, str]:
    """The facts as tags; the commit also as MLflow's own, by default that of TRSP_GIT_SHA."""
    tags = {f"trsp.{name}": redact(value) for name, value in facts.items() if value}
    sha = facts.get("git_sha") or os.environ.get("TRSP_GIT_SHA", "")
    if sha:
        tags |= {"trsp.git_sha": sha, "mlflow.source.git.commit": sha}
    return tags
