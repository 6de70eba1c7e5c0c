"""Reaching an MLflow tracking server or database, with time limits that are chosen here.

Knows nothing of runs.
"""

import contextlib
import fcntl
import logging
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from orchestrator.redact import redact
from trsp.errors import TrackingError, first_line

CHECK_TIMEOUT_S = 5
FIRST_ANSWER_S = 15  # a server that has just started, or is busy, answers its first request late
OPEN_TURN_S = 60.0  # how long others may take to open a new database
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
CURE = "start the server, or correct tracking.uri in the grid file (sqlite:///FILE needs no server)"

# What a tracking server that is away, full, locked or broken raises through the client.
FAILURES = (MlflowException, OSError, sqlalchemy.exc.SQLAlchemyError, TimeoutError)

_within_lock = threading.Lock()
_within: list[None] = []  # one for each thread in first_answer_waits
_stood: dict[str, str | None] = {}  # in the environment before the first of them came

for noisy in ("mlflow", "alembic"):
    logging.getLogger(noisy).setLevel(logging.WARNING)


def check(uri: str) -> None:
    """Initialise a fresh database. Raises TrackingError within seconds for an unusable ``uri``."""
    connect(uri)


def connect(uri: str) -> MlflowClient:
    """Return a client that has had an answer from ``uri``. Raises TrackingError without one."""
    try:
        _probe(uri)
        with first_answer_waits(), opening_turn(sqlite_path(uri)):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)
    except FAILURES as error:
        raise TrackingError(f"no MLflow at {redact(uri)} ({one_line(error)}); {CURE}") from None
    return client


@contextlib.contextmanager
def first_answer_waits() -> Iterator[None]:
    """Let MLflow's HTTP client wait ``FIRST_ANSWER_S`` seconds for an answer, and not ask again.

    MLflow reads both from the environment, which all threads share, at every call. What stood there
    comes back when the last thread that is within leaves. Meanwhile it holds for all of them: so
    this is for a first request alone.
    """
    chosen = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(FIRST_ANSWER_S),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    with _within_lock:
        if not _within:
            _stood.update({name: os.environ.get(name) for name in chosen})
            os.environ.update(chosen)
        _within.append(None)
    try:
        yield
    finally:
        with _within_lock:
            _within.pop()
            if not _within:
                _put_back()


def _put_back() -> None:
    """Give the environment back what stood there before the first thread came."""
    for name, value in _stood.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def opening_turn(database: Path | None) -> Iterator[None]:
    """Keep other processes of this machine from opening the same database meanwhile.

    Several that open a new one together would all make its tables, and all fail. Where a file
    system knows no locks, and after ``OPEN_TURN_S`` seconds, nobody is waited for.
    """
    if database is None:
        yield
        return
    folder = os.open(database.parent, os.O_RDONLY)
    try:
        deadline = time.monotonic() + OPEN_TURN_S
        while not _locks(folder) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield
    finally:
        os.close(folder)  # and with it goes the lock


def _locks(folder: int) -> bool:
    """Lock an open folder unless another process has; return whether it need not be tried again."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def artifact_root(uri: str) -> str | None:
    """Return where a new experiment keeps its artifacts: a folder beside a local database.

    None where a server or the database's owner decides.
    """
    path = sqlite_path(uri)
    return (path.parent / "artifacts").as_uri() if path else None


def sqlite_path(uri: str) -> Path | None:
    """Return the file of an SQLite database, as an absolute path; None for any other address."""
    parts = urlsplit(uri)
    if not parts.scheme.startswith("sqlite"):
        return None
    return Path(parts.path.removeprefix("/")).absolute()


def one_line(error: BaseException) -> str:
    """Return the first line of an error without credentials, at most 300 characters long."""
    return redact(first_line(error))[:300]


def _probe(uri: str) -> None:
    """Raise OSError at once where nobody answers: MLflow's own client would retry for minutes."""
    if path := sqlite_path(uri):
        _probe_sqlite(path)
        return
    parts = urlsplit(uri)
    port = PORTS.get(parts.scheme.partition("+")[0])
    if port and parts.hostname:
        address = (parts.hostname, parts.port or port)
        socket.create_connection(address, timeout=CHECK_TIMEOUT_S).close()


def _probe_sqlite(path: Path) -> None:
    """Raise OSError unless the database can be written; its folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(
            sqlite3.connect(path, timeout=CHECK_TIMEOUT_S, isolation_level=None)
        ) as database:
            database.execute("BEGIN IMMEDIATE")  # takes the write lock: proves that we may write
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from None
