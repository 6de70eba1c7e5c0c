"""The page of ``trsp report`` in a real browser: its widths, colours and sorting."""

import base64
from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from orchestrator.report.page.contents import contents
from orchestrator.report.page.render import html_page
from tests.orchestrator.large_views import large_view

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HEIGHT = 1000


@pytest.fixture(scope="module")
def page(
    driver: webdriver.Chrome, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[webdriver.Chrome]:
    """A browser on the report of 240 cells; the window is as it was afterwards."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(html_page(contents(large_view()), "now"), encoding="utf-8")
    driver.get_log("browser")  # what others left
    driver.get(file.as_uri())
    yield driver
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def look(page: webdriver.Chrome, width: int = 1600, scheme: str = "light") -> None:
    """Make the window so wide, in pixels, for a reader who likes that colour scheme."""
    size = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def first_cells(page: webdriver.Chrome, column: int) -> list[str]:
    """Return the texts of a column of the cells' table, top first, as far as they are shown."""
    rows = page.find_elements(By.CSS_SELECTOR, "table.sortable tbody tr:not([hidden])")
    return [row.find_elements(By.TAG_NAME, "td")[column].text for row in rows[:12]]


@pytest.mark.parametrize("width", [1600, 800])
def test_a_page_is_never_wider_than_its_window(page: webdriver.Chrome, width: int) -> None:
    look(page, width)
    widths = "return [document.documentElement.scrollWidth, window.innerWidth]"
    needed, there = page.execute_script(widths)
    assert needed <= there


def test_scores_and_sizes_of_a_wide_table_are_in_sight(page: webdriver.Chrome) -> None:
    """The settings, which the cells' names hold too, stand to the right of them."""
    look(page, 1600)
    titles = page.find_elements(By.CSS_SELECTOR, "table.sortable th")
    edge = page.find_element(By.CSS_SELECTOR, ".scroll:has(.sortable)").rect
    seen = [
        each.text
        for each in titles
        if each.rect["x"] + each.rect["width"] <= edge["x"] + edge["width"]
    ]
    assert seen[:7] == [
        *("cell", "status", "perplexity/wiki", "params", "size", "latency (ms)"),
        "removed layers",
    ]


def test_a_page_follows_the_readers_colour_scheme(page: webdriver.Chrome) -> None:
    colours = (
        "const of = (each, name) => getComputedStyle(document.querySelector(each))[name];"
        "return [of('body', 'backgroundColor'), of('body', 'color'), of('svg text', 'fill')]"
    )
    look(page, scheme="light")
    light = page.execute_script(colours)
    look(page, scheme="dark")
    dark = page.execute_script(colours)
    assert light == ["rgb(255, 255, 255)", "rgb(31, 35, 40)", "rgb(31, 35, 40)"]
    assert dark == ["rgb(13, 17, 23)", "rgb(230, 237, 243)", "rgb(230, 237, 243)"]


def test_a_click_on_a_title_sorts_by_number(page: webdriver.Chrome) -> None:
    look(page)
    titles = page.find_elements(By.CSS_SELECTOR, "table.sortable th")
    column = [each.text for each in titles].index("params")
    titles[column].find_element(By.TAG_NAME, "button").click()
    assert set(first_cells(page, column)) == {"3.35B"}
    titles[column].find_element(By.TAG_NAME, "button").click()
    assert set(first_cells(page, column)) == {"6.07B"}
    assert titles[column].get_attribute("aria-sort") == "descending"


def test_the_rows_can_be_narrowed_down(page: webdriver.Chrome) -> None:
    look(page)
    search = page.find_element(By.CSS_SELECTOR, "input[type=search]")
    search.send_keys("sleb heal mistral")
    assert {each.partition(" ")[2] for each in first_cells(page, 0)} == {
        "sleb heal Mistral-7B-v0.3"
    }
    assert page.find_element(By.TAG_NAME, "output").text == "5 of 240"


def test_a_page_can_be_printed(page: webdriver.Chrome) -> None:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    printed = page.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert base64.b64decode(printed).startswith(b"%PDF")


def test_nothing_was_refused_by_the_pages_own_policy(page: webdriver.Chrome) -> None:
    assert page.get_log("browser") == []
