"""One browser for all of this folder's tests, which are skipped where there is none.

With TRSP_REQUIRE_BROWSER=1 there must be one.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.browser.chromium import browser, missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not missing() or os.environ.get("TRSP_REQUIRE_BROWSER") == "1":
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=missing()))


@pytest.fixture(scope="package")
def driver() -> Iterator[webdriver.Chrome]:
    """Chromium, with whatever page the test before left."""
    with browser() as driver:
        yield driver
