"""The driver's end: which aliases it moves. Its stages are made up, its MLflow is real."""

import json
import os
import shutil
import signal
import threading
from io import StringIO
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from orchestrator import listeners
from orchestrator.driver import Driver
from orchestrator.execution.launcher import Finished
from orchestrator.listeners import Listeners
from orchestrator.projection_turn import StoreTurn
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.store import Store
from orchestrator.tracking import tracker
from orchestrator.tracking.pages import links
from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.grid_view import GridView
from tests.orchestrator.fake_launcher import FakeLauncher, one_cell
from trsp.errors import TrackingError
from trsp.records import EvaluationRecord, Score

NAME = "demo"
ALIAS = "demo-best-params-1k"


class ScoringLauncher(FakeLauncher):
    """Every checkpoint scores ``perplexity``; it stops the driver once it has scored one."""

    def __init__(self, perplexity: float, interrupts: bool) -> None:
        super().__init__(slots=1)
        self._perplexity, self._interrupts = perplexity, interrupts

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        finished = super().poll(wait_s)
        for task in self.tasks(StageKind.EVALUATE):
            if task.spec.key in [each.key for each in finished]:
                score = Score(value=self._perplexity, stderr=0.5)
                record = EvaluationRecord(scores={"perplexity/wiki": score}, seconds=1)
                result = Path(Store(task.store).stages.uri(task.spec.key), "result.json")
                stored = json.loads(result.read_text())
                stored["record"] = record.model_dump(mode="json")
                result.write_text(json.dumps(stored))
                if self._interrupts:
                    os.kill(os.getpid(), signal.SIGINT)
        return finished


class BreaksAtItsEnd(ScoringLauncher):
    """A cluster that cannot be left in order."""

    def stop(self) -> None:
        raise ConnectionError("the cluster has gone")


class Runs:
    """Runs of a grid on one MLflow database, each with a store of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self.launcher = ScoringLauncher
        self.printed = ""
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.client = MlflowClient(self.uri, self.uri)

    def run(self, perplexity: float, interrupts: bool = False, **changes: object) -> str:
        """Run the grid and return what it printed."""
        self._count += 1
        tracking = {"uri": self.uri, **changes.pop("tracking", {})}  # type: ignore[dict-item]
        budgets = [{"max_params": 1000}]
        given = {"name": NAME, "budgets": budgets, "tracking": tracking, **changes}
        grid = one_cell(self._folder / str(self._count), **given)
        out = Console(file=StringIO(), width=200)
        launcher = self.launcher(perplexity, interrupts)
        try:
            Driver(grid, Store(grid.grid.storage.store), launcher, out).run()
        finally:
            assert isinstance(out.file, StringIO)
            self.printed = out.file.getvalue()
        return self.printed

    def aliases(self) -> dict[str, str]:
        """The registered model's aliases, and what it says of each."""
        (model,) = self.client.search_registered_models()
        return {alias: model.tags[f"trsp.alias.{alias}"] for alias in model.aliases}


@pytest.fixture
def runs(empty_database: Path, tmp_path: Path) -> Runs:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return Runs(tmp_path)


def test_a_grid_that_is_done_gives_its_alias_and_says_so(runs: Runs) -> None:
    printed = runs.run(23.2)
    assert f"{ALIAS}: best perplexity/wiki" in printed
    assert f"alias {ALIAS} moves: nobody had it" in printed
    assert list(runs.aliases()) == [ALIAS]
    assert "best of grid 'demo', perplexity/wiki 23.2 +- 0.5" in runs.aliases()[ALIAS]


def test_a_link_that_nobody_answers_comes_with_what_to_do_at_the_beginning_and_the_end(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "listens", lambda _: False)
    lines = runs.run(23.2).splitlines()
    hint = "nothing listens there now; `trsp ui FILE` shows it"
    at = [number for number, line in enumerate(lines) if line.startswith("leaderboard: http")]
    assert [lines[number + 1] for number in at] == [hint, hint]
    assert at[0] == 0


def test_a_grid_that_was_stopped_moves_no_alias(runs: Runs) -> None:
    runs.run(186.0)
    before = runs.aliases()
    printed = runs.run(23.2, interrupts=True)
    assert "stopped by SIGINT" in printed
    assert "aliases stay where they are: the grid is not done" in printed
    assert runs.aliases() == before


def test_a_worse_result_on_the_same_text_moves_no_alias(runs: Runs) -> None:
    runs.run(23.2)
    before = runs.aliases()
    worse = runs.run(186.0, ratios=[0.3])
    assert f"alias {ALIAS} stays: version" in worse
    assert runs.aliases() == before


def test_an_alias_without_the_grids_name_is_moved_only_where_that_is_set(runs: Runs) -> None:
    runs.run(23.2, tracking={"shared_aliases": True})
    assert set(runs.aliases()) == {ALIAS, "best-params-1k"}


def test_a_grid_goes_on_to_its_end_while_mlflow_hangs(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stages, its cards and what is printed wait for nobody; then the end has a limit."""
    free = threading.Event()
    monkeypatch.setattr(MlflowTracker, "project", lambda *_: free.wait(60))
    monkeypatch.setattr(listeners, "FINISH_LIMIT_S", 0.1)
    monkeypatch.setattr(listeners, "REQUEST_S", 0.1)
    try:
        with pytest.raises(TrackingError, match="no answer within"):
            runs.run(23.2)
    finally:
        free.set()
    assert f"{ALIAS}: best perplexity/wiki" in runs.printed


@pytest.mark.parametrize("interrupts", [False, True], ids=["done", "stopped"])
def test_a_cluster_that_breaks_at_the_end_leaves_no_run_running(
    runs: Runs, interrupts: bool
) -> None:
    runs.launcher = BreaksAtItsEnd
    with pytest.raises(ConnectionError, match="the cluster has gone"):
        runs.run(23.2, interrupts=interrupts)
    (experiment,) = runs.client.search_experiments(filter_string="name != 'Default'")
    found = runs.client.search_runs([experiment.experiment_id])
    assert found
    assert "RUNNING" not in {run.info.status for run in found}


def test_mlflow_is_told_of_a_stop_before_anything_that_may_take_long(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray gives a job three seconds; leaving gangs takes ten, and a store may hang."""
    order: list[str] = []
    end, stop = Listeners.end, ScoringLauncher.stop

    def noted_end(self: Listeners, view: GridView) -> None:
        order.append(f"MLflow {view.status.value}")
        end(self, view)

    def noted_stop(self: ScoringLauncher) -> None:
        order.append("cluster")
        stop(self)

    monkeypatch.setattr(Listeners, "end", noted_end)
    monkeypatch.setattr(ScoringLauncher, "stop", noted_stop)
    runs.run(23.2, interrupts=True)
    assert order[:2] == ["MLflow killed", "cluster"]


def test_of_two_drivers_the_one_that_does_not_write_leaves_mlflow_to_the_other(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "WRITER_WAIT_S", 0.0)
    monkeypatch.setattr(StoreTurn, "holder", lambda _: "another driver (process 7 on node-1)")
    printed = runs.run(23.2)
    assert "another driver (process 7 on node-1) writes MLflow and moves the aliases" in printed
    assert runs.client.search_registered_models() == []
