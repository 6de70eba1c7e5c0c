"""Databases for this folder's tests: an empty one each, and one with a finished grid for all."""

import shutil
from pathlib import Path

import pytest

from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.grid_view import GridView
from tests.orchestrator import sample_views as sample
from tests.orchestrator.tracking.reading import EXPERIMENT


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    """The tracking URI of an empty database, in a folder whose name needs care."""
    folder = tmp_path / "with a space"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture(scope="package")
def finished(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, GridView]:
    """A finished grid, projected at once: the tracking URI and the view. Read only."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(empty_database, folder / "mlflow.db")
    view = sample.finished(folder / "store")
    MlflowTracker(f"sqlite:///{folder}/mlflow.db", EXPERIMENT).finish(view)
    return f"sqlite:///{folder}/mlflow.db", view
