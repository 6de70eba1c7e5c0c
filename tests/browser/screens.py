"""Screenshots of a grid in the MLflow UI, for people to look at and for the documentation.

    python tests/browser/screens.py TRACKING_URI EXPERIMENT OUT_DIR

Takes the newest grid of the experiment: its leaderboard, a ranking (charts, heatmap), a cell, the
registered model.
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
from orchestrator.tracking.content.values import registered_name
from orchestrator.tracking.models import logged_name
from tests.browser.chromium import browser, close_assistant, open_page, wait_for_text
from tests.mlflow_server import mlflow_server

SETTLE_S = 4.0  # charts are drawn some time after their page's text is there
POLL_S = 1.0


@dataclass(frozen=True)
class Screen:
    """A page worth a picture. ``expects``: texts that it shows once it is loaded."""

    name: str
    url: str
    expects: tuple[str, ...]


@dataclass(frozen=True)
class Pages:
    """The addresses of one experiment's pages."""

    base: str
    experiment_id: str

    @property
    def experiment(self) -> str:
        return f"{self.base}/#/experiments/{self.experiment_id}"

    def of_run(self, run: Run, tab: str = "") -> str:
        return f"{self.experiment}/runs/{run.info.run_id}{tab}?workflowType=machine_learning"

    def of_model(self, name: str, rest: str = "") -> str:
        return f"{self.base}/#/models/{name}{rest}?workflowType=machine_learning"


def screens(client: MlflowClient, experiment: str, base: str) -> Iterator[Screen]:
    """What is worth looking at in the newest grid, in the order in which a person would."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise SystemExit(f"no experiment {experiment!r} at {client.tracking_uri}")
    pages = Pages(base, found.experiment_id)
    grid = _newest(client, pages, "tags.`trsp.kind` = 'grid'")
    key = grid.data.tags["trsp.grid"]
    mine = f"tags.`trsp.grid` = '{key}'"
    ranking = _newest(
        client,
        pages,
        f"tags.`trsp.kind` = 'rank' AND {mine} AND tags.`mlflow.runName` LIKE '%gates%'",
    )
    cell = _newest(
        client,
        pages,
        f"tags.`trsp.kind` = 'cell' AND {mine} AND attributes.status = 'FINISHED' "
        "AND params.transfer != 'none'",
    )
    leaderboard = leaderboard_url(base, pages.experiment_id, key)
    yield Screen("leaderboard", leaderboard, (_name(cell),))
    charts = leaderboard.replace("/runs?", "/runs?compareRunsMode=CHART&")
    yield Screen("charts", charts, ("against size, speed and ratio",))
    yield Screen("grid", pages.of_run(grid), (_name(grid),))
    yield from _ranking_screens(pages, ranking)
    yield from _cell_screens(pages, cell)
    yield from _model_screens(pages, cell)


def _newest(client: MlflowClient, pages: Pages, query: str) -> Run:
    return client.search_runs(
        [pages.experiment_id], query, max_results=1, order_by=["start_time DESC"]
    )[0]


def _name(run: Run) -> str:
    return str(run.data.tags["mlflow.runName"])


def _ranking_screens(pages: Pages, run: Run) -> Iterator[Screen]:
    expects = (_name(run),)
    yield Screen("ranking", pages.of_run(run), expects)
    yield Screen("ranking-charts", pages.of_run(run, "/model-metrics"), expects)
    yield Screen("ranking-heatmap", pages.of_run(run, "/artifacts/heatmap.png"), expects)
    yield Screen("ranking-gates", pages.of_run(run, "/artifacts/gates.json"), expects)


def _cell_screens(pages: Pages, run: Run) -> Iterator[Screen]:
    expects = (_name(run),)
    yield Screen("cell", pages.of_run(run), expects)
    yield Screen("cell-charts", pages.of_run(run, "/model-metrics"), expects)
    yield Screen("cell-scores", pages.of_run(run, "/artifacts/scores.json"), expects)


def _model_screens(pages: Pages, cell: Run) -> Iterator[Screen]:
    """The experiment's checkpoints, and the registered model that the cell's is a version of."""
    models = f"{pages.experiment}/models?workflowType=machine_learning"
    yield Screen("models", models, (logged_name(_name(cell)),))
    model = registered_name(cell.data.params["model"])
    yield Screen("registered-model", pages.of_model(model), (model, "Version 1"))
    yield Screen("registered-version", pages.of_model(model, "/versions/1"), ("Version 1",))


def shoot(driver: webdriver.Chrome, screen: Screen, out: Path) -> Path:
    """Take the picture of a page that shows all it should and has come to rest."""
    open_page(driver, screen.url)
    wait_for_text(driver, *screen.expects)
    path = out / f"{screen.name}.png"
    path.write_bytes(_settled(driver))
    return path


def _settled(driver: webdriver.Chrome) -> bytes:
    """The picture once two in a row are equal; after SETTLE_S the last one, at rest or not."""
    picture = driver.get_screenshot_as_png()
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        before, picture = picture, driver.get_screenshot_as_png()
        if picture == before:
            break
    return picture


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
