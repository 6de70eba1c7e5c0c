"""``run_grid``: a grid file from the first check to the last line printed. ``view_offline``: the same grid without running it."""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

from rich.console import Console

from orchestrator.execution.launcher import Launcher
from orchestrator.grid.schema import Grid, load_grid
from orchestrator.layouts.capacity import fits
from orchestrator.layouts.layout import Layout
from orchestrator.report.live import Report, make_report
from orchestrator.report.model_cards import cell_card
from orchestrator.report.tables import console, print_choice, print_status
from orchestrator.scheduler.controller import Controller
from orchestrator.stages.next_stages import next_stages
from orchestrator.stages.resolve import Resolved, resolve
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.results import StoreResults
from orchestrator.store.store import Store
from orchestrator.views.budget import choose
from orchestrator.views.build import Activity, build_view
from orchestrator.views.grid_view import CellView, GridView, Status
from trsp.errors import InvalidInputError

STEP_WAIT_S = 0.5
EXIT_CODES: Mapping[Status, int] = {Status.DONE: 0, Status.FAILED: 1, Status.KILLED: 143}


def view_offline(grid: Grid) -> GridView:
    """A grid as its store knows it, without a cluster: on the hardware it last ran on. What a living driver claims, runs."""
    resolved = resolve(grid)
    store = Store(grid.storage.store)
    resolved = on_hardware(resolved, store.grids.load(resolved.key).get("hardware", ""))
    results = StoreResults(store)
    now = time.time()
    claims = {
        spec.key: (spec.kind, store.claims.holder(spec.key))
        for spec in next_stages(resolved, results)
    }
    running = {key: kind for key, (kind, claim) in claims.items() if claim and claim.alive(now)}
    return build_view(resolved, results, Activity(running, live=bool(running)))


def on_hardware(resolved: Resolved, hardware: str) -> Resolved:
    return replace(resolved, study=replace(resolved.study, hardware=hardware))


def run_grid(path: Path, address: str | None = None, launcher: Launcher | None = None) -> int:
    """Make every result of the grid exist. Returns 0 when all did, 1 when a cell failed, 143 when it was stopped.

    Raises TrspError for bad input, an unwritable store or an absent tracking server, before anything is started.
    """
    out = console()
    grid = load_grid(path)
    resolved = resolve(grid)
    resolved.expansion.require(str(path))
    preflight(grid)
    for note in resolved.expansion.notes:
        out.print(f"note: {note}", markup=False, soft_wrap=True)
    if launcher is None:
        from orchestrator.ray_backend.ray_launcher import RayLauncher

        launcher = RayLauncher(grid.resources, address)
    smallest = Layout(cpus=grid.resources.cpus_per_rank, gpus=int(grid.resources.use_gpus is True))
    if grid.resources.max_parallel is None and not fits(launcher.capacity(), smallest):
        launcher.stop()
        asked = grid.resources
        raise InvalidInputError(
            f"no stage fits on this cluster: one takes {asked.cpus_per_rank} CPUs (resources.use_gpus: {asked.use_gpus}); "
            f"lower resources.cpus_per_rank or set resources.use_gpus: false in {path}; where nodes come when asked for, "
            "set resources.max_parallel"
        )
    hardware = launcher.hardware()
    store = Store(grid.storage.store)
    store.grids.save(resolved.key, {"name": grid.name, "hardware": hardware})
    return _Run(on_hardware(resolved, hardware), store, launcher, out).to_its_end()


def preflight(grid: Grid) -> None:
    """StoreError or TrackingError unless the store can be written and the tracking server answers."""
    from orchestrator.tracking.tracker import check

    Store(grid.storage.store).files.check_writable()
    check(grid.tracking.uri)


class _Run:
    """One driver's pass over a grid: the controller, and those who are told of its views."""

    def __init__(self, resolved: Resolved, store: Store, launcher: Launcher, out: Console) -> None:
        from orchestrator.tracking.tracker import MlflowTracker

        self._grid = resolved.grid
        self._store = store
        self._launcher = launcher
        self._out = out
        self._controller = Controller(resolved, store, launcher)
        tracking = self._grid.tracking
        self._tracker = MlflowTracker(tracking.uri, tracking.experiment, facts=job_facts())
        self._tracker.sweep(alive_grids=(resolved.key,))
        self._leaderboard = self._tracker.leaderboard_url(
            tracking.ui_url or "http://127.0.0.1:5000", resolved.key
        )

    def to_its_end(self) -> int:
        self._say(f"leaderboard: {self._leaderboard}")
        try:
            with _signals() as received:
                view = self._drive(received)
        except Exception as error:
            self._abandon(f"the driver failed: {type(error).__name__}: {error}")
            raise
        self._launcher.stop()
        self._conclude(view)
        return EXIT_CODES[view.status]

    def _abandon(self, reason: str) -> None:
        """End what runs and close the MLflow runs, as far as that goes: the error that led here is the one to be seen."""
        with suppress(Exception):
            self._controller.stop(reason)
        with suppress(Exception):
            self._tracker.finish(self._controller.view())

    def _drive(self, received: list[str]) -> GridView:
        """Step until everything is done or failed, or a signal came."""
        self._controller.tidy()
        view = self._controller.view()
        open_cells = {cell.cell.key for cell in view.cells}
        with make_report(self._out, self._grid.headline_metrics) as report:
            while not received:
                view = self._controller.step(STEP_WAIT_S)
                self._tell(view, report)
                open_cells = self._publish_cards(view, open_cells)
                if view.status in (Status.DONE, Status.FAILED):
                    return view
            self._controller.stop(f"stopped by {received[0]}")
            view = self._controller.view()
            self._tell(view, report)
        return view

    def _tell(self, view: GridView, report: Report) -> None:
        report.show(view)
        self._tracker.project(view)

    def _publish_cards(self, view: GridView, open_cells: set[str]) -> set[str]:
        """A checkpoint's model card gets its scores, once its cell and its reference are over. Returns the cells still open.

        Cards of cells that an earlier driver finished are written again: it may have been killed before it came to that.
        """
        over = {
            dense.model.name: dense
            for dense in view.dense
            if dense.status in (Status.DONE, Status.FAILED)
        }
        done = [
            cell
            for cell in view.cells
            if cell.status is Status.DONE and cell.cell.model.name in over
        ]
        ready = [cell for cell in done if cell.cell.key in open_cells]
        for cell in ready:
            card = cell_card(cell, over[cell.cell.model.name])
            self._store.stages.write_file(
                cell.stage_keys[StageKind.PRUNE], "README.md", card.encode()
            )
        return open_cells - {cell.cell.key for cell in ready}

    def _conclude(self, view: GridView) -> None:
        """Print the cells and the best under each budget; then close MLflow's runs and set the aliases.

        In this order: a tracking server that is away (TrackingError) must not keep the results from being seen.
        """
        print_status(view, self._grid.headline_metrics, self._out)
        choices = [
            choose(view.cells, budget, self._grid.metric(budget)) for budget in self._grid.budgets
        ]
        for choice in choices:
            print_choice(choice, view.cells, self._out)
        for cell in view.cells:
            if cell.status is Status.FAILED:
                self._say(
                    f"failed: {cell.cell.name} in {cell.stage}: {cell.reason}{self._log_of(cell)}"
                )
        self._tracker.finish(view)
        for choice in choices:
            if choice.best is not None:
                self._tracker.set_alias(
                    choice.best.cell.model.name, choice.budget.alias, choice.best.cell.key
                )
        self._say(f"leaderboard: {self._leaderboard}")

    def _log_of(self, cell: CellView) -> str:
        key = cell.stage_keys.get(cell.stage, "")
        return (
            f"; its log is in {self._store.stages.uri(key)}"
            if key and self._store.failures.history(key)
            else ""
        )

    def _say(self, line: str) -> None:
        self._out.print(line, markup=False, highlight=False, soft_wrap=True)


def job_facts() -> dict[str, str]:
    """Where this run comes from: the Ray job's submission id, and the commit as far as it is known."""
    facts = {"git_sha": os.environ.get("TRSP_GIT_SHA", "")}
    config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    facts["submission_id"] = config.get("metadata", {}).get("job_submission_id", "")
    return {name: value for name, value in facts.items() if value}


@contextmanager
def _signals() -> Iterator[list[str]]:
    """Names of the stop signals received. Set after ``ray.init``, which replaces handlers of its own."""
    received: list[str] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
