"""Commands whose store is away: they say so in words, and no traceback."""

from pathlib import Path

import pytest

from orchestrator.cli import BAD_INPUT, main
from orchestrator.run import run_grid
from tests.orchestrator.fake_launcher import FakeLauncher
from tests.orchestrator.faulty_store import Faults, inject
from trsp.errors import StoreError, UnreachableError


class LosesItsStore(FakeLauncher):
    """A cluster that is opened; when it is, the store has gone."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults

    def hardware(self) -> str:
        self._faults.away = True
        return super().hardware()


@pytest.mark.parametrize("command", ["status", "best", "measure"])
def test_a_command_that_reads_the_store_says_that_it_gives_no_answer(
    one_cell_file: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inject(monkeypatch).away = True
    with pytest.raises(SystemExit) as caught:
        main([command, str(one_cell_file)])
    said = capsys.readouterr().err
    assert caught.value.code == BAD_INPUT
    assert said.startswith(f"error: store '{one_cell_file.parent}/store' gives no answer: ")
    assert "Traceback" not in said


def test_a_run_whose_store_goes_away_while_the_cluster_is_opened_says_so(
    one_cell_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = LosesItsStore(inject(monkeypatch))
    with pytest.raises(UnreachableError, match="gives no answer"):
        run_grid(one_cell_file, launcher=launcher)
    assert launcher.stopped


def test_a_store_that_refuses_is_told_apart_from_one_that_is_away(
    one_cell_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = inject(monkeypatch)
    faults.error = PermissionError(13, "Permission denied")
    with pytest.raises(StoreError, match=r"fails: .*Permission denied"):
        run_grid(one_cell_file, launcher=LosesItsStore(faults))
