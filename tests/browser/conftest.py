"""Skips the browser's tests where there is no browser, unless TRSP_REQUIRE_BROWSER=1 says that there must be one."""

import os
from pathlib import Path

import pytest

from tests.browser.chromium import missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not missing() or os.environ.get("TRSP_REQUIRE_BROWSER") == "1":
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=missing()))
