"""The printed link, followed by a real browser to a real MLflow UI: what a person sees."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from orchestrator.grid.budgets import Budget
from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import resolve_offline
from orchestrator.tracking.tracker import MlflowTracker
from orchestrator.views.grid_view import GridView
from tests.browser.chromium import PAGE_S, close_assistant, open_page, page_text, wait_for_text
from tests.browser.screens import Screen, screens, shoot
from tests.mlflow_server import TrackingServer
from tests.orchestrator import sample_views as sample
from tests.orchestrator.sample_grids import claim

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EXPERIMENT = "TRSP browser"
ALIAS = "demo-best-params-1m"
JOBS = Path(__file__).parents[2] / "jobs"
# Of each name in the list of runs the characters that lie within its column.
SHOWN_NAMES = """
return [...document.querySelectorAll('[role=gridcell][col-id*="Run Name"] a')].map(link => {
  const cell = link.closest('[role=gridcell]').getBoundingClientRect();
  const edge = Math.min(cell.right, link.getBoundingClientRect().right);
  const texts = document.createTreeWalker(link, NodeFilter.SHOW_TEXT);
  let shown = '';
  for (let text; text = texts.nextNode();) for (let i = 0; i < text.length; i++) {
    const range = document.createRange();
    range.setStart(text, i); range.setEnd(text, i + 1);
    if (range.getBoundingClientRect().right <= edge + 0.5) shown += text.data[i];
  }
  return shown;
})"""


@dataclass(frozen=True)
class Site:
    """A finished grid in MLflow, and a browser on its pages."""

    server: TrackingServer
    tracker: MlflowTracker
    view: GridView
    driver: webdriver.Chrome


@pytest.fixture(scope="module")
def site(
    tracking_server: TrackingServer,
    driver: webdriver.Chrome,
    tmp_path_factory: pytest.TempPathFactory,
) -> Site:
    done = sample.finished(tmp_path_factory.mktemp("ui") / "store")
    asked = (Budget(max_params=1_300_000),)
    view = replace(done, metrics=("perplexity/wiki", "accuracy"), budgets=asked)
    tracking_server.empty_registry()
    tracker = MlflowTracker(tracking_server.database, EXPERIMENT)
    tracker.finish(view)
    best = min(sample.cells(), key=sample.perplexity)
    tracker.move_alias(sample.MODEL.name, best.key, claim(ALIAS))
    driver.get(tracking_server.url)
    close_assistant(driver)
    return Site(tracking_server, tracker, view, driver)


def test_the_printed_link_opens_every_cell_sorted_by_perplexity(site: Site) -> None:
    best_first = [cell.name for cell in sorted(sample.cells(), key=sample.perplexity)]
    assert best_first != [cell.name for cell in sample.cells()], "the sample must need sorting"
    open_page(site.driver, site.tracker.leaderboard_url(site.server.url, site.view.key))
    text = wait_for_text(site.driver, *best_first, "perplexity/wiki")
    assert sorted(best_first, key=text.index) == best_first
    assert f"{len(best_first)} matching runs" in text
    assert "42.07" in text
    assert "ranking" not in text.partition("Run Name")[2], "only cells"
    assert "invalid" not in text
    assert "does not exist" not in text


def hardest_names(job: str, count: int) -> list[str]:
    """The longest names of a job's cells, and those that begin as the longest do."""
    names = [cell.name for cell in resolve_offline(load_grid(JOBS / f"{job}.yaml")).cells]
    longest = max(names, key=len)
    return sorted(names, key=lambda name: (name[:40] != longest[:40], -len(name)))[:count]


def test_no_two_rows_read_alike_at_1600_pixels(site: Site) -> None:
    names = hardest_names("grid", len(site.view.cells))
    cells = tuple(
        replace(cell, cell=replace(cell.cell, name=name))
        for cell, name in zip(site.view.cells, names, strict=True)
    )
    view = replace(
        site.view, key="grid-of-long-names", cells=cells, rankings=(), dense=(), metrics=()
    )
    tracker = MlflowTracker(site.server.database, f"{EXPERIMENT}, long names")
    tracker.finish(view)
    before = site.driver.get_window_size()
    site.driver.set_window_size(1600, 1000)
    try:
        open_page(site.driver, tracker.leaderboard_url(site.server.url, view.key))
        wait_for_text(site.driver, *names)
        shown = site.driver.execute_script(SHOWN_NAMES)
    finally:
        site.driver.set_window_size(before["width"], before["height"])
    assert len(shown) == len(names)
    assert len(set(shown)) == len(names), shown


def test_the_charts_of_the_leaderboard_show_quality_against_cost(site: Site) -> None:
    url = site.tracker.leaderboard_url(site.server.url, site.view.key)
    open_page(site.driver, url.replace("/runs?", "/runs?compareRunsMode=CHART&"))
    text = wait_for_text(
        site.driver, "perplexity/wiki against size, speed and ratio", "params_M vs."
    )
    assert "params_M vs. perplexity/wiki" in text
    assert "latency_ms vs. perplexity/wiki" in text
    assert "ratio vs. perplexity/wiki" in text


def test_the_grids_page_answers_and_shows_its_pictures(site: Site) -> None:
    runs = MlflowClient(site.server.database, site.server.database).search_runs(
        [site.tracker.experiment_id],
        f"tags.`trsp.kind` = 'grid' AND tags.`trsp.grid` = '{site.view.key}'",
    )
    page = f"#/experiments/{site.tracker.experiment_id}/runs/{runs[0].info.run_id}"
    open_page(site.driver, f"{site.server.url}/{page}")
    wait_for_text(site.driver, "1/6 gates l1=5e-3 drift, perplexity/wiki 42.07", "cells/done")
    assert site.driver.find_elements(By.XPATH, "//td[contains(., '1/3 block_influence none')]")
    widths = (
        "return [...document.querySelectorAll('img[src*=get-artifact]')].map(i => i.naturalWidth)"
    )
    WebDriverWait(site.driver, PAGE_S).until(
        lambda driver: (seen := driver.execute_script(widths)) and all(seen)
    )


def test_the_alias_stands_on_the_registered_model(site: Site) -> None:
    open_page(site.driver, f"{site.server.url}/#/models/Tiny-1-5M")
    text = wait_for_text(site.driver, "Version 1", ALIAS)
    assert text.count(f"@\N{NO-BREAK SPACE}{ALIAS}") == 1
    assert "Pruned checkpoints of Tiny-1.5M" in text


def test_two_clicks_lead_from_a_budget_to_the_line_that_loads_its_best(site: Site) -> None:
    """The registered model, its table of budgets, and the version behind the link there."""
    driver = site.driver
    open_page(driver, f"{site.server.url}/#/models/Tiny-1-5M")
    wait_for_text(driver, "Best under each budget", ALIAS)
    page = driver.current_window_handle
    driver.find_element(By.CSS_SELECTOR, "td a[href*='/versions/']").click()
    WebDriverWait(driver, PAGE_S).until(lambda _: "/versions/" in _newest_window(driver))
    try:
        text = wait_for_text(driver, "from_pretrained", "perplexity/wiki")
        assert "without layers" in text
    finally:
        if driver.current_window_handle != page:
            driver.close()
            driver.switch_to.window(page)


def _newest_window(driver: webdriver.Chrome) -> str:
    """Go to the window that was opened last, if any was; return its address."""
    driver.switch_to.window(driver.window_handles[-1])
    return str(driver.current_url)


def test_every_screen_shows_what_it_is_for(site: Site, tmp_path: Path) -> None:
    """The pages that tests/browser/screens.py photographs exist and load."""
    database = site.server.database
    client = MlflowClient(tracking_uri=database, registry_uri=database)
    more = {
        "ranking-charts": "gate_by_layer",
        "ranking-gates": "gate",
        "cell-charts": "by_step",
        "grid": "6 done",
    }
    for screen in screens(client, EXPERIMENT, site.server.url):
        expects = (*screen.expects, more.get(screen.name, ""))
        picture = shoot(site.driver, Screen(screen.name, screen.url, expects), tmp_path)
        assert picture.stat().st_size > 20_000, screen.name
        assert "went wrong" not in page_text(site.driver), screen.name
