"""Screenshots of a grid in the MLflow UI, for people to look at and for the documentation.

    python tests/browser/screens.py TRACKING_URI EXPERIMENT OUT_DIR

Takes the newest grid of the experiment: its leaderboard, a ranking (charts, heatmap), a cell, the registered model.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from selenium import webdriver

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from orchestrator.tracking.content.leaderboard import leaderboard_url
from orchestrator.tracking.models import logged_name, registered_name
from tests.browser.chromium import browser, close_assistant, mlflow_server, wait_for_text

SETTLE_S = 4.0  # charts are drawn some time after their page's text is there


@dataclass(frozen=True)
class Screen:
    """``expects``: a text that the page shows once it is loaded."""

    name: str
    url: str
    expects: tuple[str, ...]


def screens(client: MlflowClient, experiment: str, base: str) -> Iterator[Screen]:
    """What is worth looking at, in the order in which a person would."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise SystemExit(f"no experiment {experiment!r} at {client.tracking_uri}")
    where = found.experiment_id

    def newest(query: str, order: str = "start_time DESC") -> Run:
        return client.search_runs([where], query, max_results=1, order_by=[order])[0]

    grid = newest("tags.`trsp.kind` = 'grid'")
    mine = f"tags.`trsp.grid` = '{grid.data.tags['trsp.grid']}'"
    rank = newest(f"tags.`trsp.kind` = 'rank' AND {mine} AND tags.`mlflow.runName` LIKE '%gates%'")
    cell = newest(
        f"tags.`trsp.kind` = 'cell' AND {mine} AND attributes.status = 'FINISHED' AND params.transfer != 'none'"
    )
    model = registered_name(cell.data.params["model"])

    def run_page(run: Run, tab: str = "") -> str:
        return f"{base}/#/experiments/{where}/runs/{run.info.run_id}{tab}?workflowType=machine_learning"

    rank_name, cell_name = rank.data.tags["mlflow.runName"], cell.data.tags["mlflow.runName"]
    yield Screen(
        "leaderboard", leaderboard_url(base, where, grid.data.tags["trsp.grid"]), (cell_name,)
    )
    yield Screen("grid", run_page(grid), (grid.data.tags["mlflow.runName"],))
    yield Screen("ranking", run_page(rank), (rank_name,))
    yield Screen("ranking-charts", run_page(rank, "/model-metrics"), (rank_name,))
    yield Screen("ranking-heatmap", run_page(rank, "/artifacts/heatmap.png"), (rank_name,))
    yield Screen("ranking-gates", run_page(rank, "/artifacts/gates.json"), (rank_name,))
    yield Screen("cell", run_page(cell), (cell_name,))
    yield Screen("cell-charts", run_page(cell, "/model-metrics"), (cell_name,))
    yield Screen("cell-scores", run_page(cell, "/artifacts/scores.json"), (cell_name,))
    yield Screen(
        "models",
        f"{base}/#/experiments/{where}/models?workflowType=machine_learning",
        (logged_name(cell_name),),
    )
    yield Screen(
        "registered-model",
        f"{base}/#/models/{model}?workflowType=machine_learning",
        (model, "Version 1"),
    )
    yield Screen(
        "registered-version",
        f"{base}/#/models/{model}/versions/1?workflowType=machine_learning",
        ("Version 1",),
    )


def shoot(driver: webdriver.Chrome, screen: Screen, out: Path) -> Path:
    driver.get(
        "about:blank"
    )  # the UI is one page: without this, a new address is only a new fragment
    driver.get(screen.url)
    wait_for_text(driver, *screen.expects)
    time.sleep(SETTLE_S)
    path = out / f"{screen.name}.png"
    driver.save_screenshot(str(path))
    return path


def main(tracking_uri: str, experiment: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
    with (
        tempfile.TemporaryDirectory() as folder,
        mlflow_server(tracking_uri, Path(folder)) as base,
        browser() as driver,
    ):
        driver.get(base)
        wait_for_text(driver, "Experiments")
        close_assistant(driver)
        for screen in screens(client, experiment, base):
            print(shoot(driver, screen, out), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
