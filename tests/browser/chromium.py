"""A headless Chromium on a real MLflow UI. Knows Debian's chromium and selenium; nothing of grids."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

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
SERVER_START_S = 120
PAGE_S = 60


def missing() -> str:
    """Why there can be no browser here; empty when there can."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return (
        f"{' and '.join(absent)} not found: apt install chromium chromium-driver" if absent else ""
    )


@contextlib.contextmanager
def browser(width: int = 1900, height: int = 1000) -> Iterator[webdriver.Chrome]:
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


def wait_for_text(driver: webdriver.Chrome, *texts: str, timeout_s: float = PAGE_S) -> str:
    """The page's text once it holds all of ``texts``. Raises TimeoutException with what it held instead."""

    def all_there(_: webdriver.Chrome) -> bool:
        return all(text in page_text(driver) for text in texts)

    message = f"waiting for {texts}"
    WebDriverWait(driver, timeout_s, poll_frequency=0.5).until(all_there, message)
    return page_text(driver)


def close_assistant(driver: webdriver.Chrome) -> None:
    """MLflow opens a panel over a quarter of a new user's window, and remembers in the browser when it is closed."""
    WebDriverWait(driver, PAGE_S).until(lambda _: "MLflow Assistant" in page_text(driver))
    closing = "if (key.includes('assistant.panelOpen')) localStorage.setItem(key, 'false')"
    driver.execute_script(f"for (const key of Object.keys(localStorage)) {closing}")


def page_text(driver: webdriver.Chrome) -> str:
    return driver.find_element(By.TAG_NAME, "body").get_attribute("innerText") or ""


@contextlib.contextmanager
def mlflow_server(tracking_uri: str, folder: Path) -> Iterator[str]:
    """``mlflow server`` on a database; its address. Of an http address, that address itself."""
    if tracking_uri.startswith(("http://", "https://")):
        yield tracking_uri
        return
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        tracking_uri,
        "--port",
        str(port),
    ]
    command += [
        "--host",
        "127.0.0.1",
        "--workers",
        "1",
        "--default-artifact-root",
        (folder / "artifacts").as_uri(),
    ]
    with (folder / "mlflow-server.log").open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, cwd=folder
        )
        try:
            base = f"http://127.0.0.1:{port}"
            _wait_until_healthy(base, process, folder / "mlflow-server.log")
            yield base
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(base: str, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + SERVER_START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{base}/health", timeout=2):
            return
        time.sleep(0.5)
    raise RuntimeError(f"mlflow server did not start:\n{output.read_text()[-2000:]}")
