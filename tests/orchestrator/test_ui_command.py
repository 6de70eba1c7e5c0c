"""``trsp ui``: what it opens, and what it says where there is nothing to open."""

import contextlib
import signal
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.grid.schema import load_grid
from orchestrator.kept_grids import lookup
from orchestrator.stages.resolve import resolved_of
from orchestrator.tracking.pages import find, server
from tests.orchestrator.test_cli import call
from tests.tiny_grid import tiny_grid

PAGE = "/#/experiments/1/runs?viewStateShareKey=x"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The links that were opened in a browser, which is there."""
    links: list[str] = []

    def open_(link: str) -> bool:
        links.append(link)
        return True

    monkeypatch.setattr(webbrowser, "open", open_)
    return links


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow knows every grid."""
    monkeypatch.setattr(find, "grid_page", lambda uri, experiment, name, base: base + PAGE)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_at_interrupts: None) -> str:
    """A database, served until Ctrl-C comes, which it does at once."""

    @contextlib.contextmanager
    def served(uri: str, port: int | None) -> Iterator[str]:
        yield f"http://served:{port or 5000}"
        raise AssertionError("it waits until Ctrl-C")

    monkeypatch.setattr(server, "served", served)
    monkeypatch.setattr("threading.Event.wait", lambda _: signal.raise_signal(signal.SIGINT))
    (tmp_path / "mlflow.db").touch()
    return f"sqlite:///{tmp_path}/mlflow.db"


def grid_on(folder: Path, uri: str, **tracking: str) -> Path:
    return tiny_grid(folder, Path("/m"), Path("/t.txt"), tracking={"uri": uri, **tracking})


@pytest.mark.usefixtures("page")
def test_a_grids_leaderboard_is_opened_on_its_database(
    tmp_path: Path, database: str, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("ui", grid_on(tmp_path, database)) == 0
    assert opened == [f"http://served:5000{PAGE}"]
    assert capsys.readouterr().out == f"http://served:5000{PAGE}\n"


@pytest.mark.usefixtures("page", "opened")
def test_sigterm_ends_the_server_as_ctrl_c_does(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threading.Event.wait", lambda _: signal.raise_signal(signal.SIGTERM))
    assert call("ui", grid_on(tmp_path, database)) == 0


@pytest.mark.usefixtures("page")
def test_a_tracking_server_is_opened_itself(tmp_path: Path, opened: list[str]) -> None:
    assert call("ui", grid_on(tmp_path, "http://mlflow:5000")) == 0
    assert opened == [f"http://mlflow:5000{PAGE}"]


@pytest.mark.usefixtures("page")
def test_the_link_may_be_printed_only(
    tmp_path: Path, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("ui", grid_on(tmp_path, "http://mlflow:5000"), "--no-open") == 0
    assert (opened, capsys.readouterr().out) == ([], f"http://mlflow:5000{PAGE}\n")


def test_a_grid_that_never_ran_says_so_and_shows_what_is_there(
    tmp_path: Path,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(find, "grid_page", lambda *_: None)
    assert call("ui", grid_on(tmp_path, "http://mlflow:5000")) == 0
    assert opened == ["http://mlflow:5000"]
    assert "MLflow has no grid 'tiny' in experiment 'trsp' yet" in capsys.readouterr().err


@pytest.mark.usefixtures("page")
def test_a_grid_may_be_named_that_a_store_keeps(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = resolved_of(load_grid(grid_on(tmp_path, "http://mlflow:5000")), {}, "", {}, {})
    monkeypatch.setattr(lookup, "look_up", lambda which, store, note: kept)
    assert call("ui", "tiny", "--store", str(tmp_path)) == 0
    assert opened == [f"http://mlflow:5000{PAGE}"]


def test_without_a_file_all_of_a_database_is_shown(database: str, opened: list[str]) -> None:
    assert call("ui", "--uri", database, "--port", "5123") == 0
    assert opened == ["http://served:5123"]


def test_a_database_that_is_not_there_is_told_with_the_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("ui", grid_on(tmp_path, f"sqlite:///{tmp_path}/none.db")) == 2
    assert "`trsp run FILE` makes it as it starts" in capsys.readouterr().err


@pytest.mark.usefixtures("page")
def test_a_machine_without_a_browser_says_to_open_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    assert call("ui", grid_on(tmp_path, "http://mlflow:5000")) == 0
    assert "open the link in yours" in capsys.readouterr().err
