"""Commands whose store is away: they say so in words, and no traceback."""

import shutil
from pathlib import Path

import pytest

from orchestrator import run as driver
from orchestrator.cli import BAD_INPUT, main
from orchestrator.grid.schema import Grid
from orchestrator.run import run_grid
from orchestrator.stages.resolve import Resolved
from tests.orchestrator.fake_launcher import FakeLauncher, one_cell
from tests.orchestrator.faulty_store import Faults, inject
from tests.orchestrator.sample_grids import grid_file
from trsp.errors import StoreError, UnreachableError


class LosesItsStore(FakeLauncher):
    """A cluster that is opened; when it is, the store has gone."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults

    def hardware(self) -> str:
        self._faults.away = True
        return super().hardware()


@pytest.fixture
def file(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid that can be run."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    tracking = {"uri": f"sqlite:///{tmp_path}/mlflow.db"}

    def resolve(_: Grid) -> Resolved:
        return one_cell(tmp_path, tracking=tracking)

    monkeypatch.setattr(driver, "resolve", resolve)
    monkeypatch.setattr(driver, "_resolve_checked", lambda grid, _: resolve(grid))
    return grid_file(tmp_path, tracking=tracking, storage={"store": str(tmp_path / "store")})


@pytest.mark.parametrize("command", ["status", "best", "measure"])
def test_a_command_that_reads_the_store_says_that_it_gives_no_answer(
    file: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inject(monkeypatch).away = True
    with pytest.raises(SystemExit) as caught:
        main([command, str(file)])
    said = capsys.readouterr().err
    assert caught.value.code == BAD_INPUT
    assert said.startswith(f"error: store '{file.parent}/store' gives no answer: ")
    assert "Traceback" not in said


def test_a_run_whose_store_goes_away_while_the_cluster_is_opened_says_so(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = LosesItsStore(inject(monkeypatch))
    with pytest.raises(UnreachableError, match="gives no answer"):
        run_grid(file, launcher=launcher)
    assert launcher.stopped


def test_a_store_that_refuses_is_told_apart_from_one_that_is_away(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = inject(monkeypatch)
    faults.error = PermissionError(13, "Permission denied")
    with pytest.raises(StoreError, match=r"fails: .*Permission denied"):
        run_grid(file, launcher=LosesItsStore(faults))
