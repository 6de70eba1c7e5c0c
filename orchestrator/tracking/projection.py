"""One grid's views written into MLflow: of each what is new in it. Knows no connection.

What a view costs follows what changed in it: a run whose part of the view is the same object as
before is not looked at.
"""

import time
from collections.abc import Iterator, Mapping

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.tracking.content import leaderboard
from orchestrator.tracking.content.describe import DescribedRun, RunId, described_runs, run_ids
from orchestrator.tracking.runs import RunWriter
from orchestrator.tracking.written_run import HEARTBEAT
from orchestrator.views.grid_view import GridView, Status

HEARTBEAT_S = 60.0
# What MLflow answers about one run, by another driver's doing mostly: asked the same again, it
# would say the same. The other runs are none the worse.
_ANSWERS = (
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
)


class GridProjection:
    """Writes the views of one grid, and remembers what it has written.

    ``key``: the grid's. ``facts``: tags of every run that is made.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        key: str,
        facts: Mapping[str, str],
        artifacts_every_s: float,
    ) -> None:
        self._client, self._experiment_id, self._key = client, experiment_id, key
        self._runs = RunWriter(client, experiment_id, key, facts, artifacts_every_s)
        self._view: GridView | None = None  # the last, whose changes are written or pending
        self._pending: dict[RunId, DescribedRun] = {}
        self._postponed: dict[RunId, tuple[float, DescribedRun]] = {}  # until when they wait
        self._begun: set[RunId] = set()  # runs whose work was seen to have begun
        self._shared_view = ""
        self._heartbeat_at = float("-inf")  # seconds of the monotonic clock
        self._doubted = True

    def doubt(self) -> None:
        """Trust nothing of what is remembered of MLflow: the next ``write`` reads it first."""
        self._doubted = True

    @property
    def may_have_twins(self) -> bool:
        """Whether MLflow may hold runs that another driver made of the same parts."""
        return self._runs.may_have_twins

    def write(self, view: GridView, deadline: float) -> bool:
        """Write what is new; return whether all of it was written by the deadline.

        ``deadline``: on the monotonic clock. What MLflow refuses of one run is raised once the
        others are written; anything else it raises ends the writing.
        """
        anew = self._doubted
        if anew:
            self._read(view)
        changed = {run.id: run for run in self._described(view, self._view)}
        self._begun |= {id_ for id_, run in changed.items() if run.has_begun}
        self._pending |= self._due() | changed
        self._view = view
        self._beat()
        if not self._pending:
            return True
        if not self._write_pending(deadline):
            return False
        if anew:
            self._runs.drop_others(run_ids(view))
        self._share(view)
        return True

    def _described(self, view: GridView, before: GridView | None = None) -> Iterator[DescribedRun]:
        return described_runs(view, before, self._experiment_id)

    def _due(self) -> dict[RunId, DescribedRun]:
        """Take the runs whose artifacts have waited long enough."""
        now = time.monotonic()
        due = {id_: run for id_, (due_at, run) in self._postponed.items() if now >= due_at}
        for id_ in due:
            del self._postponed[id_]
        return due

    def _read(self, view: GridView) -> None:
        """Take up what MLflow holds; what is not as it was left is to be written anew."""
        changed = self._runs.read()
        self._pending |= {run.id: run for run in self._described(view) if run.id in changed}
        self._shared_view = ""
        self._doubted = False

    def _write_pending(self, deadline: float) -> bool:
        """Write what is pending, those first that are to be closed; return whether all was."""
        refused: MlflowException | None = None
        for run in sorted(self._pending.values(), key=self._urgency):
            if time.monotonic() > deadline:
                break
            try:
                self._write_run(run)
                del self._pending[run.id]
            except MlflowException as error:
                if error.error_code not in _ANSWERS or run.kind == "grid":
                    raise
                refused = refused or error
        if refused is not None:
            raise refused
        return not self._pending

    def _urgency(self, run: DescribedRun) -> int:
        """Lower is sooner: the grid's run, which the others hang below; what closes; the rest."""
        if run.kind == "grid":
            return 0
        closes = run.status is Status.KILLED and self._runs.is_open(run.id)
        return 1 if closes else 2

    def _write_run(self, run: DescribedRun) -> None:
        """Write a run, if it is to be there."""
        if not self._has_begun(run):
            return
        due_at = self._runs.write(run.state())
        if run.kind == "grid":
            self._beat()  # from the first on: who sweeps takes a grid that never did for dead
        self._postponed.pop(run.id, None)
        if due_at is not None:
            self._postponed[run.id] = due_at, run

    def _has_begun(self, run: DescribedRun) -> bool:
        """Whether a run is to be made or written now: it is made when its work begins.

        Work that the driver's end finds waiting has none: that may be most of five thousand cells.
        """
        return run.kind == "grid" or run.id in self._begun or self._runs.exists(run.id)

    def _beat(self) -> None:
        """Say once a minute that the grid's driver lives."""
        grid = ("grid", self._key)
        due = time.monotonic() - self._heartbeat_at > HEARTBEAT_S
        if due and self._runs.exists(grid):
            self._runs.tag(grid, HEARTBEAT, f"{time.time():.0f}")
            self._heartbeat_at = time.monotonic()

    def _share(self, view: GridView) -> None:
        """Give the leaderboard's link what it opens."""
        shared_view = leaderboard.shared_view(view)
        if shared_view != self._shared_view:
            tag = leaderboard.share_tag(view.key)
            self._client.set_experiment_tag(self._experiment_id, tag, shared_view)
            self._shared_view = shared_view
