"""What is said, and how soon, of an MLflow that cannot be used."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from orchestrator.tracking import connection
from orchestrator.tracking.connection import check
from trsp.errors import TrackingError

DEAD_PORT = 9  # discard: nothing listens there


@pytest.mark.parametrize(
    "bad",
    [
        f"http://me:sesame@127.0.0.1:{DEAD_PORT}",
        f"postgresql+psycopg2://me:sesame@127.0.0.1:{DEAD_PORT}/mlflow",
    ],
)
def test_a_server_that_is_away_is_said_within_seconds(bad: str) -> None:
    started = time.monotonic()
    with pytest.raises(TrackingError, match=r"no MLflow at .*\*\*\*@.*start the server") as caught:
        check(bad)
    assert time.monotonic() - started < 10
    assert "sesame" not in str(caught.value)


@pytest.mark.slow
def test_a_server_that_accepts_and_says_nothing_is_said_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is waited for as long as for a first answer, 15 s, and no longer: here 3 s."""
    others_s = 10  # all but that wait
    assert connection.FIRST_ANSWER_S + others_s <= 25
    monkeypatch.setattr(connection, "FIRST_ANSWER_S", 3)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        started = time.monotonic()
        with pytest.raises(TrackingError, match="no MLflow at"):
            check(f"http://127.0.0.1:{mute.getsockname()[1]}")
        assert 3 <= time.monotonic() - started < 3 + others_s


def test_a_database_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    started = time.monotonic()
    with pytest.raises(TrackingError, match="no MLflow at sqlite"):
        check(f"sqlite:///{tmp_path}/file/mlflow.db")
    text = "a text, not a database, and long enough to be read as a header"
    (tmp_path / "text.db").write_text(text * 3)
    with pytest.raises(TrackingError, match="file is not a database"):
        check(f"sqlite:///{tmp_path}/text.db")
    assert time.monotonic() - started < 5


def test_one_process_at_a_time_opens_a_database(tmp_path: Path) -> None:
    """Several that make the tables of a new one together all fail."""
    database = tmp_path / "mlflow.db"
    entered = threading.Event()

    def enter() -> None:
        with connection.opening_turn(database):
            entered.set()

    with connection.opening_turn(database):
        other = threading.Thread(target=enter)
        other.start()
        assert not entered.wait(0.3)
    other.join(20)
    assert entered.is_set()


def test_the_waits_of_mlflows_client_are_set_once_for_all_threads(tmp_path: Path) -> None:
    names = ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    before = [os.environ[name] for name in names]
    assert float(before[0]) * (1 + int(before[1])) <= 60, "what one request may take, in seconds"
    with pytest.raises(TrackingError):
        check(f"http://127.0.0.1:{DEAD_PORT}")
    assert [os.environ[name] for name in names] == before


def test_of_threads_that_connect_at_once_the_last_one_puts_the_waits_back() -> None:
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ[name]
    first, second = connection.first_answer_waits(), connection.first_answer_waits()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert os.environ[name] == str(connection.FIRST_ANSWER_S), "the second one still waits"
    second.__exit__(None, None, None)
    assert os.environ[name] == before
