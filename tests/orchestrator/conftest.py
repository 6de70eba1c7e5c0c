"""What the tests of commands share: a grid file that can be run without a cluster.

Its modules are imported late: a conftest may be loaded before that of all tests has set variables,
which some libraries read when they are imported.
"""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def one_cell_file(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a grid of one cell, whose model and texts need not exist.

    Its store and its MLflow database lie beside it.
    """
    from orchestrator import run
    from orchestrator.kept_grids import lookup
    from tests.orchestrator.fake_launcher import one_cell
    from tests.orchestrator.sample_grids import grid_file

    shutil.copy(empty_database, tmp_path / "mlflow.db")
    tracking = {"uri": f"sqlite:///{tmp_path}/mlflow.db"}
    resolved = one_cell(tmp_path, tracking=tracking)
    monkeypatch.setattr(lookup, "resolve", lambda _: resolved)
    monkeypatch.setattr(run, "resolve", lambda _: resolved)
    monkeypatch.setattr(run, "_resolve_checked", lambda *_: resolved)
    return grid_file(tmp_path, tracking=tracking, storage={"store": str(tmp_path / "store")})


@pytest.fixture
def ends_at_interrupts() -> Iterator[None]:
    """Ctrl-C as it is in a process of ``trsp``, which ends at once: here that is a failure.

    A command that has something to do at Ctrl-C has to ask for it.
    """

    def end(*_: object) -> None:
        raise AssertionError("Ctrl-C has ended the process")

    before = signal.signal(signal.SIGINT, end)
    yield
    signal.signal(signal.SIGINT, before)
