"""A driver whose store goes away: it says so, ends nothing, and comes to its end."""

import shutil
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.driver import Driver
from orchestrator.execution.launcher import Finished
from orchestrator.scheduler.faults import outage
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failure_log import FailureLog
from orchestrator.store.failures import Failure, FailureKind
from orchestrator.store.store import Store
from tests.orchestrator.fake_launcher import FakeLauncher, one_cell
from tests.orchestrator.faulty_store import ElsewhereLauncher, Faults, inject


class Outages(ElsewhereLauncher):
    """The store is away whenever the number of a look at the cluster is one of ``away``."""

    def __init__(self, faults: Faults, away: range) -> None:
        super().__init__(faults, slots=2)
        self._away, self._polls = away, 0

    def poll(self, wait_s: float) -> tuple[Finished, ...]:
        self._faults.away = self._polls in self._away
        self._polls += 1
        return super().poll(wait_s)


@pytest.mark.parametrize("away", [range(4), range(2, 6)], ids=["at first", "meanwhile"])
def test_a_driver_goes_on_when_its_store_is_back(
    empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: range
) -> None:
    monkeypatch.setattr(outage, "FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(outage, "LONGEST_WAIT_S", 0.0)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    grid = one_cell(tmp_path, tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db"})
    faults, out = inject(monkeypatch), Console(file=StringIO(), width=200)
    launcher = Outages(faults, away)
    driver = Driver(grid, Store(grid.grid.storage.store), launcher, out)
    faults.away = 0 in away
    assert driver.run() == 0
    assert isinstance(out.file, StringIO)
    said = out.file.getvalue()
    assert said.count("behind since ") == 1
    assert said.count("the store answers again") == 1
    assert launcher.cancelled == []
    assert len(launcher.started_keys()) == len(set(launcher.started_keys()))


@pytest.mark.parametrize("is_away", [False, True], ids=["there", "away"])
def test_at_the_end_people_are_told_where_logs_are_if_the_store_says_so(
    empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    grid = one_cell(tmp_path, tracking={"uri": f"sqlite:///{tmp_path}/mlflow.db"})
    failure = Failure("InvalidInputError", "no such layer", FailureKind.BAD_INPUT)
    launcher = FakeLauncher(fail=[(StageKind.PRUNE, failure)])
    out = Console(file=StringIO(), width=200)

    def away(*_: object) -> bool:
        raise OSError("connection refused")

    if is_away:
        monkeypatch.setattr(FailureLog, "has_any", away)
    assert Driver(grid, Store(grid.grid.storage.store), launcher, out).run() == 1
    assert isinstance(out.file, StringIO)
    (told,) = [line for line in out.file.getvalue().splitlines() if line.startswith("failed: ")]
    assert "no such layer" in told
    assert ("; its log is in " in told) is not is_away
