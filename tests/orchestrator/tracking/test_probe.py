"""A run written to MLflow by ``trsp doctor``, read back and taken away."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.tracking.probe import use_tracking
from trsp.errors import TrackingError


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> str:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_database_serves_and_shows_nothing_of_it_afterwards(database: str) -> None:
    for _ in range(2):  # the second time, the name of its experiment is taken
        assert {"connect", "create a run", "write", "read"} == use_tracking(database).keys()
    shown = [each.name for each in MlflowClient(database).search_experiments()]
    assert shown == ["Default"]


def test_a_server_that_is_away_is_told_with_the_cure() -> None:
    with pytest.raises(TrackingError, match="start the server"):
        use_tracking("http://127.0.0.1:9")
