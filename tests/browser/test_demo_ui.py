"""The MLflow that ``make demo`` filled, in a real browser.

TRSP_DEMO_HOME=~/.trsp pytest tests/browser/test_demo_ui.py
"""

import os
from pathlib import Path

import pytest
from mlflow import MlflowClient
from selenium import webdriver

from orchestrator.grid.schema import load_grid
from orchestrator.run import view_offline
from orchestrator.tracking.content.values import registered_name
from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.aliases import alias_name
from orchestrator.views.budget import choose
from tests.browser.chromium import close_assistant, open_page, wait_for_text
from tests.mlflow_server import mlflow_server

DEMO_HOME = os.environ.get("TRSP_DEMO_HOME", "")
GRID = Path(__file__).resolve().parents[2] / "jobs" / "demo.yaml"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        not DEMO_HOME, reason="TRSP_DEMO_HOME does not say where a finished demo's results are"
    ),
]


def test_the_demos_leaderboard_and_aliases(
    driver: webdriver.Chrome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRSP_HOME", DEMO_HOME)
    grid = load_grid(GRID)
    view = view_offline(grid)
    metric = grid.default_metric
    value = {cell.cell.name: cell.metrics()[metric] for cell in view.cells}
    tracker = MlflowTracker(grid.tracking.uri, grid.tracking.experiment)
    client = MlflowClient(tracking_uri=grid.tracking.uri, registry_uri=grid.tracking.uri)
    model = registered_name(view.cells[0].cell.model.name)
    with mlflow_server(grid.tracking.uri, tmp_path) as base:
        driver.get(base)
        close_assistant(driver)
        open_page(driver, tracker.leaderboard_url(base, view.key))
        text = wait_for_text(driver, *value, metric)
        shown = [value[name] for name in sorted(value, key=text.index)]
        assert shown == sorted(shown), "every cell, best first"
        open_page(driver, f"{base}/#/models/{model}")
        wait_for_text(driver, *(alias_name(grid.name, budget) for budget in grid.budgets))
    for budget in grid.budgets:
        best = choose(view.cells, budget, metric).best
        assert best is not None
        version = client.get_model_version_by_alias(model, alias_name(grid.name, budget))
        assert version.tags["trsp.cell"] == best.cell.key
