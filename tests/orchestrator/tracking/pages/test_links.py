"""Where MLflow's pages are, and what is said of a link that nobody answers."""

import socket
from collections.abc import Iterator

import pytest

from orchestrator.tracking.pages.links import link_line, listens, pages_url


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine that somebody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that nobody listens at, and nobody else gets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


@pytest.mark.parametrize(
    ("uri", "ui_url", "url"),
    [
        ("sqlite:////home/me/mlflow.db", None, "http://127.0.0.1:5000"),
        ("sqlite:////home/me/mlflow.db", "http://tunnel:8080/", "http://tunnel:8080"),
        ("http://mlflow:5000/", None, "http://mlflow:5000"),
        ("https://me:secret@mlflow.org/team", None, "https://mlflow.org/team"),
        ("https://mlflow.org", "https://pages.org", "https://pages.org"),
    ],
)
def test_the_pages_are_where_the_grid_says_or_at_its_server(
    uri: str, ui_url: str | None, url: str
) -> None:
    assert pages_url(uri, ui_url) == url


def test_a_link_that_somebody_answers_is_all_that_is_said(port: int) -> None:
    link = f"http://127.0.0.1:{port}/#/experiments/1"
    assert link_line(link, "my.yaml") == f"leaderboard: {link}"


def test_a_link_that_nobody_answers_comes_with_the_command_that_shows_it(free_port: int) -> None:
    link = f"http://127.0.0.1:{free_port}/#/experiments/1"
    assert link_line(link, "my.yaml").splitlines() == [
        f"leaderboard: {link}",
        "nothing listens there now; `trsp ui my.yaml` shows it",
    ]


@pytest.mark.parametrize("url", ["http://no-such-host.invalid", "nonsense", "http://host:99999"])
def test_an_address_that_is_none_listens_to_nobody(url: str) -> None:
    assert not listens(url)
