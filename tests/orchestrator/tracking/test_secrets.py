"""Addresses with credentials in them: no command prints these, no record or MLflow run keeps them.

The grids, failures and views of this file all carry ``SECRET``.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.grid.schema import Grid
from orchestrator.store.diagnosis import failure_of
from orchestrator.store.files import StoreFiles
from orchestrator.store.store import Store
from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator import sample_views as sample
from tests.orchestrator.looked_at import looks_at
from tests.orchestrator.sample_grids import CALIBRATION, EVALUATION, grid_file
from tests.orchestrator.tracking.reading import EXPERIMENT, all_runs, contents
from trsp.errors import StoreError

SECRET = "S3CRET"
# No such option: the store says so at once, with the address that came.
NO_STORE = f"s3://AKID:{SECRET}@bucket/x?secret_key={SECRET}&nonsense=1"
ADDRESS = f"s3://AKID:{SECRET}@bucket/x?secret_key={SECRET}"
NO_TRACKING = f"http://me:{SECRET}@127.0.0.1:1"


def call(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit):
        main([str(argument) for argument in arguments])


@pytest.fixture
def secret_grid(tiny_llama: Path, text_file: Path, tmp_path: Path) -> dict[str, Any]:
    text = {"name": "wiki", "path": str(text_file)}
    return {
        "models": str(tiny_llama),
        "calibration": {**CALIBRATION, "text": text},
        "evaluation": {"perplexity": [{**EVALUATION["perplexity"][0], "text": text}]},
        "storage": {"store": NO_STORE},
        "tracking": {"uri": NO_TRACKING, "ui_url": NO_TRACKING},
        "budgets": [{"max_params": 200}],
    }


@pytest.mark.parametrize("command", ["run", "plan", "status", "best", "measure"])
def test_no_command_prints_credentials(
    command: str, tmp_path: Path, secret_grid: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    call(command, grid_file(tmp_path, **secret_grid))
    shown = capfd.readouterr()
    assert shown.out + shown.err
    assert SECRET not in shown.out + shown.err
    if command != "plan":
        assert "store 's3://***@bucket/x?secret_key=***&nonsense=1'" in shown.err


def test_a_tracking_server_out_of_reach_keeps_its_password(
    tmp_path: Path, secret_grid: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    secret_grid["storage"] = {"store": str(tmp_path / "store")}
    call("run", grid_file(tmp_path, **secret_grid))
    shown = capfd.readouterr()
    assert "no MLflow at http://***@127.0.0.1:1" in shown.err
    assert SECRET not in shown.out + shown.err


@pytest.mark.parametrize("command", ["run", "plan", "status", "best", "measure"])
def test_every_command_asks_for_leave_to_show_a_variable(
    command: str,
    tmp_path: Path,
    secret_grid: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRSP_ALLOW_VARIABLES", "")
    monkeypatch.setenv("STUDY", SECRET)
    file = grid_file(tmp_path, **secret_grid, name="study of ${STUDY}")
    call(command, file)
    said = capsys.readouterr()
    assert "add --allow-variable STUDY" in said.err
    assert SECRET not in said.out + said.err
    call(command, file, "--allow-variable", "STUDY")
    said = capsys.readouterr()
    assert "--allow-variable" not in said.err
    assert (f"grid study of {SECRET}, 1 cells" in said.out) is (command == "plan")


def test_a_bug_is_printed_with_its_traceback_and_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Grid) -> GridView:
        raise OSError("no answer of s3://KEY:SECRET@bucket/x?secret_key=SECRET")

    looks_at(monkeypatch, broken)
    call("status", grid_file(tmp_path))
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert printed.endswith("OSError: no answer of s3://***@bucket/x?secret_key=***\n")
    assert "SECRET" not in printed


def secret_view(folder: Path) -> GridView:
    """A grid on a store whose address has credentials; one of its cells failed."""
    view = sample.finished(folder)
    cells = [replace(cell, checkpoint_uri=ADDRESS) for cell in view.cells]
    cells[0] = replace(cells[0], status=Status.FAILED, reason=f"OSError: no {ADDRESS}")
    settings = {**view.settings, "storage": {"store": ADDRESS}, "tracking": {"uri": NO_TRACKING}}
    return replace(view, cells=tuple(cells), settings=settings, reason=f"no {ADDRESS}")


@pytest.mark.parametrize("arguments", [["status"], ["best"], ["best", "--json"]])
def test_no_table_shows_credentials(
    arguments: list[str],
    tmp_path: Path,
    secret_grid: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def view(grid: Grid) -> GridView:
        return secret_view(tmp_path / "store")

    looks_at(monkeypatch, view)
    secret_grid["budgets"] = [{"max_params": "1B"}]
    call(*arguments, grid_file(tmp_path, **secret_grid))
    shown = capsys.readouterr().out
    assert "***@bucket" in shown
    assert SECRET not in shown


def test_mlflow_is_told_no_credentials(
    empty_database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of its database and artifacts holds any; a run's tags do hold the address."""
    folder = tmp_path / "mlflow"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    MlflowTracker(uri, EXPERIMENT).finish(secret_view(tmp_path / "store"))
    assert "s3://***@bucket" in json.dumps(list(contents(uri).values()), default=str)
    assert all_runs(uri)
    for file in folder.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in caplog.text


def test_a_result_has_an_address_without_credentials() -> None:
    files = StoreFiles(f"s3://AKID:{SECRET}@bucket/x?region=eu-west-1")
    assert files.address("stages/a") == "s3://bucket/x/stages/a?region=eu-west-1"


def test_a_failure_is_recorded_without_credentials(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    failure = failure_of(StoreError(f"no {ADDRESS}"), f"Traceback: {ADDRESS}")
    store.failures.record("rank-0", failure, f"printed: AWS_SECRET_ACCESS_KEY={SECRET}\n{ADDRESS}")
    assert store.failures.history("rank-0") == (failure,)
    for file in tmp_path.rglob("*.*"):
        text = file.read_text(encoding="utf-8")
        assert SECRET not in text
        assert "***" in text
