"""A headless Chromium on MLflow's pages. Knows Debian's chromium and selenium; nothing of grids."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGE_S = 60


def missing() -> str:
    """Why there can be no browser here; empty when there can."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if not absent:
        return ""
    return f"{' and '.join(absent)} not found: apt install chromium chromium-driver"


@contextlib.contextmanager
def browser(width: int = 1900, height: int = 1000) -> Iterator[webdriver.Chrome]:
    """A browser with a window of that many pixels and a profile of its own."""
    with tempfile.TemporaryDirectory(
        prefix="trsp-chromium-", ignore_cleanup_errors=True
    ) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(
            options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))
        )
        try:
            yield driver
        finally:
            driver.quit()


def open_page(driver: webdriver.Chrome, url: str) -> None:
    """Load an address from nothing: MLflow's UI is one page, and would take a new address for a new
    fragment only.
    """
    driver.get("about:blank")
    driver.get(url)


def wait_for_text(driver: webdriver.Chrome, *texts: str, timeout_s: float = PAGE_S) -> str:
    """The page's text once it holds all of ``texts``. Raises TimeoutException if it never does."""

    def all_there(_: webdriver.Chrome) -> bool:
        return all(text in page_text(driver) for text in texts)

    message = f"waiting for {texts}"
    WebDriverWait(driver, timeout_s, poll_frequency=0.5).until(all_there, message)
    return page_text(driver)


def close_assistant(driver: webdriver.Chrome) -> None:
    """Close the panel that MLflow opens over a quarter of a new user's window, for good.

    MLflow remembers in the browser that it was closed.
    """
    WebDriverWait(driver, PAGE_S).until(lambda _: "MLflow Assistant" in page_text(driver))
    closing = "if (key.includes('assistant.panelOpen')) localStorage.setItem(key, 'false')"
    driver.execute_script(f"for (const key of Object.keys(localStorage)) {closing}")


def page_text(driver: webdriver.Chrome) -> str:
    return driver.find_element(By.TAG_NAME, "body").get_attribute("innerText") or ""
