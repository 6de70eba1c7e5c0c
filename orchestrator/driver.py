"""The driver: one pass over a grid, from its first step to the last line printed.

Steps the controller and tells everyone who listens: the terminal, MLflow, the model cards. Decides
nothing about stages, and knows neither grid files nor how a cluster is opened.
"""

import json
import os
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

from rich.console import Console

from orchestrator.execution.launcher import Launcher
from orchestrator.interrupts import EXIT_CODES as SIGNAL_CODES
from orchestrator.interrupts import ending_at_the_second, say_at_interrupt
from orchestrator.listeners import Listeners
from orchestrator.parallel import at_once
from orchestrator.projection_turn import StoreTurn
from orchestrator.redact import redact
from orchestrator.report.choice_tables import print_choice
from orchestrator.report.printing import print_line
from orchestrator.report.standing.live_report import Report, make_report
from orchestrator.report.standing.status_tables import print_failures, print_status
from orchestrator.scheduler.controller import Controller
from orchestrator.scratch import remove_left_folders
from orchestrator.stages.resolve import Resolved
from orchestrator.store.store import Store
from orchestrator.tracking.pages.links import link_line, pages_url
from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.aliases import alias_claims, alias_name
from orchestrator.views.answers import answers
from orchestrator.views.budget import Choice, outside
from orchestrator.views.grid_view import SETTLED, GridView, Status, stopped
from trsp.errors import TrackingError

STEP_WAIT_S = 0.5
PROJECT_S = 3.0  # after so long, MLflow is given the newest view, or the last
EXIT_CODES: Mapping[Status, int] = {Status.DONE: 0, Status.FAILED: 1}
STOPPING = "stopping: what runs is ended in good order, within seconds; Ctrl-C again ends at once"
GO_ON = "what is done is kept; the same command goes on from there"


class Driver:
    """One process's pass over a grid: its controller, and those who are told of its views."""

    def __init__(
        self,
        resolved: Resolved,
        store: Store,
        launcher: Launcher,
        out: Console,
        file: str = "FILE",
    ) -> None:
        """``file``: the grid's, as people name it, for the lines that tell them what to do."""
        self._file = file
        self._grid, self._study = resolved.grid, resolved.study
        self._store = store
        self._launcher = launcher
        self._out = out
        self._controller = Controller(resolved, store, launcher)
        tracking = self._grid.tracking
        turn = StoreTurn(store, f"{resolved.key} {tracking.uri} {tracking.experiment}")
        self._tracker = MlflowTracker(
            tracking.uri, tracking.experiment, facts=job_facts(), turn=turn, call_limit_s=PROJECT_S
        )
        self._listeners = Listeners(self._tracker, store)
        self._leaderboard = self._tracker.leaderboard_url(
            pages_url(tracking.uri, tracking.ui_url), resolved.key
        )
        self._shown: GridView | None = None

    def run(self) -> int:
        """Work until the grid is done, failed, cancelled or stopped; return its exit code.

        It is stopped by a signal, at a second of which the process ends at once; and cancelled by
        people elsewhere, which counts as SIGTERM.

        Raises TrackingError when MLflow is away at the end (the results are printed before), and
        whatever breaks the driver itself, after everything that runs was stopped.
        """
        print_line(self._out, link_line(self._leaderboard, self._file))
        remove_left_folders()
        try:
            with _stop_signals() as received:
                view = self._step_until_over(received)
        except Exception as error:
            self._abandon(redact(f"the driver failed: {type(error).__name__}: {error}"))
            raise
        self._end_listeners(view)
        with ExitStack() as ending:  # each of these, whatever fails; the last one here comes first
            ending.callback(self._tracker.close)
            ending.callback(self._conclude, view)
            ending.callback(self._controller.close)
            ending.callback(self._launcher.stop)
        if view.status is not Status.KILLED:
            return EXIT_CODES[view.status]
        print_line(self._out, f"{view.reason}: {GO_ON}")
        return SIGNAL_CODES[received[0] if received else "SIGTERM"]

    def _abandon(self, reason: str) -> None:
        """End what runs and close the MLflow runs, as far as that goes.

        Errors on the way are dropped: the one that led here is the one to be seen.
        """
        with suppress(Exception):
            self._stop(reason)
        with suppress(Exception):
            self._finish_listeners(self._controller.view())
        self._tracker.close()

    def _stop(self, reason: str) -> None:
        """End what runs.

        MLflow is told first, of what was shown last: whoever stops us may give us three seconds,
        and cancelling a gang takes ten.
        """
        if self._shown is not None:
            self._end_listeners(stopped(self._shown, reason))
        self._controller.stop(reason)

    def _end_listeners(self, view: GridView) -> None:
        """Let MLflow and the model cards finish; of a grid that was never seen nothing is told."""
        if view.parts:
            self._listeners.end(view)

    def _step_until_over(self, received: list[str]) -> GridView:
        """Step until everything is done or failed, or a signal came; return the last view."""
        self._controller.tidy()
        with make_report(self._out, self._grid.headline_metrics) as report:
            while not (received or self._controller.asked_to_stop):
                view = self._controller.step(STEP_WAIT_S)
                self._tell(view, report)
                if view.status in SETTLED:
                    return view
            print_line(self._out, STOPPING)
            by_wish = self._controller.asked_to_stop
            self._stop(f"stopped by {received[0]}" if received else by_wish)
            view = self._controller.view()
            self._tell(view, report)
        return view

    def _tell(self, view: GridView, report: Report) -> None:
        if view is not self._shown:
            self._shown = view
            report.show(view)
        report.tick(self._controller.news())
        if view.parts:  # of a grid that was never seen nothing is told
            self._listeners.tell(view)
        if news := self._listeners.news():
            print_line(self._out, news)

    def _conclude(self, view: GridView) -> None:
        """Print the cells and the best under each budget, then close MLflow's runs, move aliases.

        In this order: a tracking server that is away (TrackingError) must not keep the results from
        being seen.
        """
        choices = answers(view)
        self._print_results(view, choices)
        self._finish_listeners(view)
        if self._tracker.writer:
            print_line(self._out, f"{self._tracker.writer} writes MLflow and moves the aliases")
        elif view.status is Status.DONE:
            self._move_aliases(view, choices)
        elif choices:
            print_line(self._out, "aliases stay where they are: the grid is not done")
        print_line(self._out, link_line(self._leaderboard, self._file))

    def _finish_listeners(self, view: GridView) -> None:
        """Wait for MLflow and the model cards.

        A TrackingError goes on, but where the grid was stopped: there it is said, and that it was
        stopped stays what its exit code says.
        """
        try:
            missing = self._listeners.finish(view) if view.parts else ""
        except TrackingError as error:
            if view.status is not Status.KILLED:
                raise
            missing = str(error)
        if missing:
            print_line(self._out, missing)

    def _move_aliases(self, view: GridView, choices: Sequence[Choice]) -> None:
        """Give each budget's aliases to its best checkpoint where they may move; say what came."""
        for choice in choices:
            for claim in alias_claims(choice, self._grid, self._study):
                assert choice.best is not None
                cell = choice.best.cell
                decision = self._tracker.move_alias(
                    cell.model.name, cell.key, claim, outside(view.cells, choice.budget)
                )
                came = "moves" if decision.moves else "stays"
                print_line(self._out, f"alias {claim.alias} {came}: {decision.reason}")

    def _print_results(self, view: GridView, choices: Sequence[Choice]) -> None:
        print_status(view, self._grid.headline_metrics, self._out)
        for choice in choices:
            alias = alias_name(self._grid.name, choice.budget)
            print_choice(choice, view.cells, self._out, alias)
        failed = [cell for cell in view.cells if cell.status is Status.FAILED]
        logs = self._logs({cell.stage_keys.get(cell.stage, "") for cell in failed} - {""})
        print_failures(failed, logs, self._out)

    def _logs(self, keys: Collection[str]) -> dict[str, str]:
        """Where the logs of failed stages are, by key, of those that left a failure.

        Empty where the store gives no answer: nobody waits for it once per cell.
        """
        with suppress(OSError):
            left = at_once(self._store.failures.has_any, keys)
            return {
                key: self._store.stages.uri(key)
                for key, has_any in zip(keys, left, strict=True)
                if has_any
            }
        return {}


def job_facts() -> dict[str, str]:
    """Return where this run comes from: the Ray job's ``submission_id`` and the ``git_sha``.

    Facts that are not known are left out.
    """
    job_config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    facts = {
        "git_sha": os.environ.get("TRSP_GIT_SHA", ""),
        "submission_id": job_config.get("metadata", {}).get("job_submission_id", ""),
    }
    return {name: value for name, value in facts.items() if value}


@contextmanager
def _stop_signals() -> Iterator[list[str]]:
    """A list that the names of stop signals are added to; a second one ends this process at once.

    Must be entered after ``ray.init``, which replaces signal handlers by its own.
    """
    received: list[str] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with ending_at_the_second(f"stopped at once: {GO_ON}"):
            yield received
    finally:
        say_at_interrupt(f"stopped at its end: {GO_ON}")
        for number, handler in before.items():
            signal.signal(number, handler)
