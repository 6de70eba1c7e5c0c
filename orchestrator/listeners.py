"""Those who are told of a grid's views besides the terminal: MLflow, model cards, the store's list.

Each works in a thread of its own on the newest view, so that none holds up the driver or another;
at the end all finish at once, and are waited for, within limits.
"""

import time

from orchestrator.card_writer import CardWriter
from orchestrator.kept_grids.recorder import SAVE_EVERY_S, GridRecorder
from orchestrator.newest import NewestOnly
from orchestrator.redact import redact
from orchestrator.store.store import Store
from orchestrator.tracking.tracker import FINISH_LIMIT_S, MlflowTracker
from orchestrator.views.grid_view import GridView, Status
from trsp.errors import TrackingError

PROJECT_AGAIN_S = 1.0  # the tracker itself leaves a failed server alone for longer
CARDS_AGAIN_S = 10.0
CARDS_LIMIT_S = 120.0
STOP_LIMIT_S = 10.0  # where somebody waits for the driver to end
REQUEST_S = 5.0  # how much longer a request under way may take


class Listeners:
    """MLflow, the model cards and the document in the store of one grid."""

    def __init__(self, tracker: MlflowTracker, store: Store) -> None:
        self._tracker = tracker
        self._card_writer = CardWriter(store)
        self._mlflow = NewestOnly("MLflow", self._project, PROJECT_AGAIN_S)
        self._cards = NewestOnly("model cards", self._card_writer.write, CARDS_AGAIN_S)
        self._recorder = GridRecorder(store)
        self._document = NewestOnly("the grid's document", self._recorder.record, SAVE_EVERY_S)
        self._told: GridView | None = None
        self._cards_complete = False
        self._ended_at: float | None = None  # seconds of the monotonic clock
        self._condition = ""  # of MLflow, as people were told

    def tell(self, view: GridView) -> None:
        """Let all work on this view. Never waits."""
        if view is not self._told:
            self._told = view
            self._mlflow.hand(view)
            self._cards.hand(view)
            self._document.hand(view)

    def news(self) -> str:
        """Return how MLflow stands where that has changed since the last call, else ""."""
        trouble, writer = self._tracker.trouble, self._tracker.writer
        before, self._condition = self._condition, "behind" if trouble else writer
        if self._condition == before:
            return ""
        if trouble:
            return f"MLflow is behind, results are safe in the store: {redact(trouble)}"
        if writer:
            return f"{writer} writes this grid into MLflow"
        return "MLflow has caught up" if before == "behind" else "MLflow is written from here now"

    def end(self, view: GridView) -> None:
        """Let all write the last of it, and MLflow's runs be closed. Never waits.

        Only the first call counts.
        """
        if self._ended_at is not None:
            return
        self._ended_at, limit_s = time.monotonic(), _mlflow_limit_s(view)
        self._mlflow.end(lambda: self._tracker.finish(view, limit_s))
        self._cards.end(lambda: self._write_last_cards(view))
        self._document.end(lambda: self._recorder.conclude(view))

    def finish(self, view: GridView) -> str:
        """End, and wait until all have ended.

        Returns what is missing of the cards, for people; "" for nothing. Raises TrackingError where
        MLflow stays behind. Where the grid was stopped, it waits for some seconds only.
        """
        self.end(view)
        limit_s = STOP_LIMIT_S if view.status is Status.KILLED else CARDS_LIMIT_S
        try:
            whole = self._cards.has_ended(self._left_s(limit_s)) and self._cards_complete
            self._document.has_ended(min(self._left_s(limit_s), STOP_LIMIT_S))
        finally:
            self._wait_for_mlflow(view.name, _mlflow_limit_s(view) + REQUEST_S)
        if whole:
            return ""
        return "model cards are missing in the store: run the same grid file again to have them"

    def _write_last_cards(self, view: GridView) -> None:
        self._cards_complete = self._card_writer.write(view)

    def _wait_for_mlflow(self, name: str, limit_s: float) -> None:
        if not self._mlflow.has_ended(self._left_s(limit_s)):
            raise TrackingError(
                f"MLflow gave no answer within {limit_s:g} s at the end of grid "
                f"{name!r}; the results are safe in the store: run the same grid file again "
                "once it answers, and they will be written"
            )

    def _left_s(self, limit_s: float) -> float:
        """How much of a limit is left, which counts from the end's beginning."""
        assert self._ended_at is not None
        return max(0.0, self._ended_at + limit_s - time.monotonic())

    def _project(self, view: GridView) -> bool:
        """Project the newest view; never finished, for a living driver says so now and then."""
        self._tracker.project(view)
        return False


def _mlflow_limit_s(view: GridView) -> float:
    """How long MLflow is written to at the end of a grid."""
    return STOP_LIMIT_S if view.status is Status.KILLED else FINISH_LIMIT_S
